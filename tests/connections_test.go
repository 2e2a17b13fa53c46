package tests

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"sallyport/devpki"
)

// A connectionsPage is an answer to /_connections.
type connectionsPage struct {
	Total       int
	Next        string
	Connections []struct {
		ID, Tunnel, State, Identity, Remote, Target string

		ServerName string `json:"server_name"`
		ALPN       string
		TLSVersion string `json:"tls_version"`
		Since      time.Time
		BytesIn    int64 `json:"bytes_in"`
		BytesOut   int64 `json:"bytes_out"`
	}
}

// connections asks for a page of open connections.
func (s *statusPort) connections(t *testing.T, query string) connectionsPage {
	t.Helper()
	var page connectionsPage
	if code := s.getJSON(t, "/_connections?"+query, &page); code != http.StatusOK {
		t.Fatalf("/_connections: %d", code)
	}
	return page
}

// TestConnectionsAreListed with whom they are and what went over them, in both
// modes, until they end.
func TestConnectionsAreListed(t *testing.T) {
	t.Parallel()
	p, listen, near := newPKI(t), reserve(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all")
	client := startClient(t, p, near, listen)
	alice := p.issue(t, "alice", devpki.Request{CommonName: "alice", URIs: []string{"spiffe://example.org/alice"}})

	before := time.Now()
	direct := connect(t, listen, p.clientConfig(alice))
	through := dial(t, "tcp", near)
	for range 3 {
		if err := roundTrip(direct); err != nil {
			t.Fatal(err)
		}
	}
	if err := roundTrip(through); err != nil {
		t.Fatal(err)
	}

	page := server.status.connections(t, "")
	if page.Total != 2 || len(page.Connections) != 2 || page.Next != "" {
		t.Fatalf("%+v, want two connections", page)
	}
	got := page.Connections[0]
	if got.Identity != "spiffe://example.org/alice" || got.Remote != direct.LocalAddr().String() || got.Target != service.address ||
		got.BytesIn != 42 || got.BytesOut != 42 || got.TLSVersion != "TLS 1.3" || got.ServerName != "localhost" || got.State != "open" || got.Tunnel != "server" {
		t.Errorf("alice's is told as %+v", got)
	}
	if got.Since.Before(before.Add(-time.Second)) || got.Since.After(time.Now()) {
		t.Errorf("open since %v, which was asked for at %v", got.Since, before)
	}
	second := server.status.connections(t, "limit=1&after="+url.QueryEscape(got.ID))
	if len(second.Connections) != 1 || second.Connections[0].Identity != "client" || second.Total != 2 {
		t.Errorf("the second page is %+v", second)
	}
	if mine := server.status.connections(t, "identity=client"); mine.Total != 1 || len(mine.Connections) != 1 {
		t.Errorf("of the client there is %+v", mine)
	}
	far := client.status.connections(t, "")
	if far.Total != 1 || far.Connections[0].Identity != "server" || far.Connections[0].Target != listen || far.Connections[0].BytesOut != 14 {
		t.Errorf("the client's is told as %+v", far)
	}

	if err := direct.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the connection has gone from the list", func() bool { return server.status.connections(t, "").Total == 1 })
	_ = through.Close()
	client.stop(t)
	server.stop(t)
}

// TestConnectionsPageThroughThousands while some of them end.
func TestConnectionsPageThroughThousands(t *testing.T) {
	t.Parallel()
	n := 300
	if full() {
		n = 5000
	}
	p, listen := newPKI(t), reserve(t)
	// Without splice(2), which echo gets, and which takes a pipe for each.
	service := serve(t, "tcp", func(conn net.Conn) { _, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}) })
	server := startServer(t, p, listen, service.address, "--allow-all", "--quiet", "conns")
	config := p.clientConfig(p.client(t))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // a resumed handshake costs less
	for range n {
		if err := roundTrip(connect(t, listen, config)); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := map[string]bool{}, 0
	for after := ""; ; pages++ {
		began := time.Now()
		page := server.status.connections(t, fmt.Sprintf("limit=%d&after=%s", n/5, url.QueryEscape(after)))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a page of %d took %v", len(page.Connections), took)
		}
		if page.Total != n {
			t.Errorf("page %d: %d in all, want %d", pages, page.Total, n)
		}
		for _, c := range page.Connections {
			if seen[c.ID] || c.Identity != "client" || c.BytesIn != 14 {
				t.Fatalf("page %d: seen before %v: %+v", pages, seen[c.ID], c)
			}
			seen[c.ID] = true
		}
		if page.Next == "" {
			break
		}
		after = page.Next
	}
	if len(seen) != n || pages != 4 {
		t.Errorf("%d connections on %d pages, want %d on 5", len(seen), pages+1, n)
	}
}
