// Package inspect reads the status port of a running process and prints what it
// says for people:
//
//	client, err := inspect.New(inspect.Options{
//		Network: "tcp", Address: "localhost:6060", TLS: true, CAFile: "ca.pem",
//		Timeout: 15 * time.Second,
//	})
//	if err != nil {
//		return err // a file that cannot be used
//	}
//	defer client.Close()
//	healthy, err := client.Show(ctx, os.Stdout)
//
// [Client.Show] looks once, [Client.Watch] again and again. Both tell whether the
// process was well when it was last seen; where it could not be seen at all, the
// error is an [UnreachableError].
//
// Whatever comes from the other side is taken for hostile until it is printed:
// answers are bounded in time and size, and no control character in them reaches
// a terminal.
//
// It knows a status port by its documents alone, and works with Ghostunnel's,
// which says less. It asks nobody else, and changes nothing but by [Client.Stop],
// which has the process end.
package inspect

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options says where a status port is, how to be let in, and what to show of it.
type Options struct {
	Network string // "tcp" or "unix"
	Address string // HOST:PORT, or the socket's path
	TLS     bool   // HTTPS rather than plain HTTP

	CAFile     string // CAs that the port's certificate must chain to; "": the system's
	CertFile   string // certificate chain to show, with KeyFile; "": none
	KeyFile    string
	ServerName string // whom the port's certificate must be for; "": the host of Address

	Token     string // what to send as a bearer token; "": what is in TokenFile
	TokenFile string // "": no token

	Timeout  time.Duration // for one look; required
	Interval time.Duration // between the looks of Watch; required for that

	Tunnel      string // the one to look at; "": all of them
	Connections bool   // show the open connections too
	JSON        bool   // pass on the documents as they are
	Plain       bool   // no colours, even on a terminal
}

// Client looks at one status port. Make it with [New]. One look at a time.
type Client struct {
	options Options
	base    string // what a path is appended to
	token   string
	http    *http.Client
}

// Close lets go of the connections to the status port.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Show looks once and writes to out. It reports whether the process is well. An
// error is an [UnreachableError], or comes from out.
func (c *Client) Show(ctx context.Context, out io.Writer) (healthy bool, err error) {
	seen, err := c.look(ctx, false)
	if err != nil {
		return false, err
	}
	text := seen.documents()
	if !c.options.JSON {
		text = seen.text(style{colours: !c.options.Plain && newScreen(out) != nil}, nil)
	}
	_, err = io.WriteString(out, text)
	return seen.report.OK, err
}

// sight is what one look saw.
type sight struct {
	report  report
	pages   []page   // of connections; nil unless they were asked for
	traffic *traffic // nil where it is not told, or was not asked for
	raw     [][]byte // the documents as they came: of the report, and of the pages
}

// look asks for all that is to be shown, and for the traffic if rates are.
func (c *Client) look(ctx context.Context, rates bool) (*sight, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.options.Timeout, fmt.Errorf("no answer within --timeout %v", c.options.Timeout))
	defer cancel()

	seen := new(sight)
	path := "/_status"
	if c.options.Tunnel != "" {
		path += "?tunnel=" + url.QueryEscape(c.options.Tunnel)
	}
	raw, err := c.document(ctx, path, &seen.report, http.StatusOK, http.StatusServiceUnavailable)
	if err != nil {
		return nil, err
	}
	seen.raw = append(seen.raw, raw)
	if c.options.Connections {
		if err := c.connections(ctx, seen); err != nil {
			return nil, err
		}
	}
	if rates && !c.options.JSON {
		seen.traffic = c.traffic(ctx)
	}
	return seen, nil
}

// documents is what came, one document a line.
func (s *sight) documents() string {
	var b strings.Builder
	for _, raw := range s.raw {
		b.WriteString(escaped(raw))
		b.WriteString("\n")
	}
	return b.String()
}
