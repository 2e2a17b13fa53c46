package status

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxPage is how many connections one answer lists at most.
const maxPage = 1000

// Connection is a connection in hand, as it is now.
type Connection struct {
	ID         uint64    // unique in its tunnel; a later one has a higher one
	State      string    // how far it has come
	Identity   string    // of the TLS peer; "": none that is known
	Remote     string    // who connected
	Route      string    // that it goes by; "": there is none, or it is not known yet
	Target     string    // "": not connected yet
	ServerName string    // the name that TLS asked for
	ALPN       string    // the protocol that was agreed on
	TLSVersion string    // "TLS 1.3"
	Since      time.Time // when it was accepted
	BytesIn    int64     // that the target was sent
	BytesOut   int64     // that the client was sent
}

// page is the answer to /_connections: those that match, in the order of tunnels
// and within them of age, from one on.
type page struct {
	Total       int          `json:"total"` // those that match, on this page or not
	Connections []listed     `json:"connections"`
	Next        connectionID `json:"next,omitzero"` // what the next page comes after; not there on the last
}

// listed is a connection on a page.
type listed struct {
	ID         connectionID `json:"id"`
	Tunnel     string       `json:"tunnel"`
	State      string       `json:"state"`
	Identity   string       `json:"identity"`
	Remote     string       `json:"remote"`
	Route      string       `json:"route,omitempty"`
	Target     string       `json:"target"`
	ServerName string       `json:"server_name,omitempty"`
	ALPN       string       `json:"alpn,omitempty"`
	TLSVersion string       `json:"tls_version,omitempty"`
	Since      time.Time    `json:"since"`
	BytesIn    int64        `json:"bytes_in"`
	BytesOut   int64        `json:"bytes_out"`
}

// connectionID names a connection of the process: TUNNEL/NUMBER, as the log has
// them. The zero value names none.
type connectionID struct {
	tunnel string
	number uint64
}

// MarshalText gives TUNNEL/NUMBER.
func (id connectionID) MarshalText() ([]byte, error) {
	return strconv.AppendUint([]byte(id.tunnel+"/"), id.number, 10), nil
}

// UnmarshalText reads what MarshalText gives.
func (id *connectionID) UnmarshalText(text []byte) error {
	slash := bytes.LastIndexByte(text, '/')
	if slash < 0 {
		return errors.New("not the ID of a connection, which is TUNNEL/NUMBER")
	}
	number, err := strconv.ParseUint(string(text[slash+1:]), 10, 64)
	if err != nil {
		return errors.New("not the ID of a connection, which is TUNNEL/NUMBER")
	}
	*id = connectionID{string(text[:slash]), number}
	return nil
}

// connections answers /_connections.
func (p *port) connections(w http.ResponseWriter, r *http.Request) {
	all := p.tunnels()
	q, err := parsePageQuery(r.URL.Query(), all)
	if err != nil {
		writeText(w, http.StatusBadRequest, err.Error())
		return
	}
	if _, ok := p.asked(w, r); ok {
		writeJSON(w, http.StatusOK, p.page(q, all))
	}
}

// pageQuery says which connections to list. An empty word matches all.
type pageQuery struct {
	limit                    int
	after                    connectionID
	skipped                  int // so many tunnels come before that of after
	tunnel, identity, remote string
}

func parsePageQuery(values url.Values, tunnels []Tunnel) (pageQuery, error) {
	q := pageQuery{limit: maxPage, tunnel: values.Get("tunnel"), identity: values.Get("identity"), remote: values.Get("remote")}
	if text := values.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxPage {
			return q, fmt.Errorf("limit: not 1 to %d", maxPage)
		}
		q.limit = limit
	}
	if text := values.Get("after"); text != "" {
		if err := q.after.UnmarshalText([]byte(text)); err != nil {
			return q, fmt.Errorf("after: %w", err)
		}
		for q.skipped < len(tunnels) && tunnels[q.skipped].Name != q.after.tunnel {
			q.skipped++
		}
		if q.skipped == len(tunnels) {
			return q, errors.New("after: there is no such tunnel")
		}
	}
	return q, nil
}

// page puts together what was asked for. What closes between one page and the next
// is on neither, what comes is on the last one of its tunnel; nothing is on two. One page
// at a time: each takes a list of all connections, however few are shown of it.
func (p *port) page(q pageQuery, tunnels []Tunnel) page {
	p.listing.Lock()
	defer p.listing.Unlock()
	answer := page{Connections: []listed{}}
	for i, tunnel := range tunnels {
		if tunnel.OpenConnections == nil || q.tunnel != "" && q.tunnel != tunnel.Name {
			continue
		}
		for _, c := range tunnel.OpenConnections() {
			if !q.matches(c) {
				continue
			}
			answer.Total++
			switch passed := i < q.skipped || i == q.skipped && c.ID <= q.after.number; {
			case passed:
			case len(answer.Connections) == q.limit:
				answer.Next = answer.Connections[q.limit-1].ID
			default:
				answer.Connections = append(answer.Connections, c.listed(tunnel.Name))
			}
		}
	}
	return answer
}

// matches tells whether a connection is among those that were asked for.
func (q pageQuery) matches(c Connection) bool {
	if q.identity != "" && q.identity != c.Identity {
		return false
	}
	if q.remote == "" || q.remote == c.Remote {
		return true
	}
	host, _, err := net.SplitHostPort(c.Remote)
	return err == nil && q.remote == host
}

// listed is the connection on a page.
func (c Connection) listed(tunnel string) listed {
	return listed{
		ID:         connectionID{tunnel, c.ID},
		Tunnel:     tunnel,
		State:      c.State,
		Identity:   c.Identity,
		Remote:     c.Remote,
		Route:      c.Route,
		Target:     c.Target,
		ServerName: c.ServerName,
		ALPN:       c.ALPN,
		TLSVersion: c.TLSVersion,
		Since:      c.Since,
		BytesIn:    c.BytesIn,
		BytesOut:   c.BytesOut,
	}
}
