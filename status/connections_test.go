package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// numbered is a tunnel with open connections of these numbers.
func numbered(name string, numbers ...uint64) Tunnel {
	return Tunnel{Name: name, OpenConnections: func() []Connection {
		var out []Connection
		for _, n := range numbers {
			out = append(out, Connection{ID: n, Identity: fmt.Sprint("peer", n%2), Remote: fmt.Sprintf("192.0.2.%d:40000", n%10)})
		}
		return out
	}}
}

// askPage asks for a page and returns the IDs on it.
func askPage(t *testing.T, url string) (ids []string, total int, next string) {
	t.Helper()
	response, body := ask(t, http.MethodGet, url)
	var got struct {
		Total       int
		Next        string
		Connections []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d, %v\n%s", url, response.StatusCode, err, body)
	}
	for _, c := range got.Connections {
		ids = append(ids, c.ID)
	}
	return ids, got.Total, got.Next
}

func TestConnectionsTellsAllOfAConnection(t *testing.T) {
	t.Parallel()
	url := served(t, Options{State: NewState(), Tunnels: these(Tunnel{Name: "server", OpenConnections: func() []Connection {
		return []Connection{
			{
				ID: 17, State: "open", Identity: "alice\x1b", Remote: "[2001:db8::1]:4711", Target: "127.0.0.1:80", ServerName: "web.example.com",
				ALPN: "h2", TLSVersion: "TLS 1.3", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), BytesIn: 10, BytesOut: 20,
			},
			{ID: 18, State: "handshake", Remote: "unix"},
		}
	}})})
	_, body := ask(t, http.MethodGet, url+"/_connections")
	want := `{"total":2,"connections":[` +
		`{"id":"server/17","tunnel":"server","state":"open","identity":"alice\u001b","remote":"[2001:db8::1]:4711","target":"127.0.0.1:80",` +
		`"server_name":"web.example.com","alpn":"h2","tls_version":"TLS 1.3","since":"2026-01-02T03:04:05Z","bytes_in":10,"bytes_out":20},` +
		`{"id":"server/18","tunnel":"server","state":"handshake","identity":"","remote":"unix","target":"","since":"0001-01-01T00:00:00Z","bytes_in":0,"bytes_out":0}]}` + "\n"
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConnectionsArePaged(t *testing.T) {
	t.Parallel()
	at := served(t, Options{State: NewState(), Tunnels: these(numbered("web", 3, 5, 8), Tunnel{Name: "idle"}, numbered("a/b", 1, 4))})
	all := []string{"web/3", "web/5", "web/8", "a/b/1", "a/b/4"}
	for limit := 1; limit <= len(all)+1; limit++ {
		var seen []string
		for after, pages := "", 0; ; pages++ {
			ids, total, next := askPage(t, fmt.Sprintf("%s/_connections?limit=%d&after=%s", at, limit, url.QueryEscape(after)))
			if total != len(all) || len(ids) > limit || pages > len(all) {
				t.Fatalf("limit %d: page %d has %q of %d", limit, pages, ids, total)
			}
			seen = append(seen, ids...)
			if next == "" {
				break
			}
			after = next
		}
		if !slices.Equal(seen, all) {
			t.Errorf("limit %d: %q, want %q", limit, seen, all)
		}
	}
	// What a page came after may be gone by then.
	if ids, _, _ := askPage(t, at+"/_connections?after=web/6"); !slices.Equal(ids, all[2:]) {
		t.Errorf("after one that is gone: %q", ids)
	}
	for query, want := range map[string][]string{
		"tunnel=a%2Fb":             {"a/b/1", "a/b/4"},
		"identity=peer1":           {"web/3", "web/5", "a/b/1"},
		"identity=peer1&limit=1":   {"web/3"},
		"identity=peer":            nil,
		"remote=192.0.2.4":         {"a/b/4"},
		"remote=192.0.2.4:40000":   {"a/b/4"},
		"remote=192.0.2":           nil,
		"remote=192.0.2.5&x=1":     {"web/5"},
		"tunnel=web&after=a/b/1":   nil,
		"tunnel=a%2Fb&after=web/3": {"a/b/1", "a/b/4"},
	} {
		if ids, _, _ := askPage(t, at+"/_connections?"+query); !slices.Equal(ids, want) {
			t.Errorf("%s: %q, want %q", query, ids, want)
		}
	}
}

func TestConnectionsRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	at := served(t, Options{State: NewState(), Tunnels: these(numbered("web", 1))})
	for query, want := range map[string]string{
		"limit=0": "limit: ", "limit=1001": "limit: ", "limit=-1": "limit: ", "limit=x": "limit: ",
		"after=1": "after: ", "after=web/": "after: ", "after=web/x": "after: ", "after=mail/1": "no such tunnel",
	} {
		if response, body := ask(t, http.MethodGet, at+"/_connections?"+query); response.StatusCode != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", query, response.StatusCode, body)
		}
	}
}

// FuzzConnectionID wants an ID that is read to be written as it was meant.
func FuzzConnectionID(f *testing.F) {
	for _, text := range []string{"server/17", "a/b/18446744073709551615", "/0", "x/-1", "x/+1", "x/007", "/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var id, again connectionID
		if id.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := id.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(written); err != nil || again != id {
			t.Errorf("%q is read as %+v and, written as %q, as %+v: %v", text, id, written, again, err)
		}
	})
}

// BenchmarkConnections asks for a page of many connections.
func BenchmarkConnections(b *testing.B) {
	var numbers []uint64
	for n := range uint64(5000) {
		numbers = append(numbers, n+1)
	}
	var p port
	tunnels := []Tunnel{numbered("server", numbers...)}
	q := pageQuery{limit: maxPage, after: connectionID{"server", 2000}}
	for b.Loop() {
		if err := json.NewEncoder(io.Discard).Encode(p.page(q, tunnels)); err != nil {
			b.Fatal(err)
		}
	}
}

// To list many thousands takes memory, and many may ask.
func TestConnectionsListsForOneAtATime(t *testing.T) {
	t.Parallel()
	var listing, most atomic.Int64
	url := served(t, Options{State: NewState(), Tunnels: these(Tunnel{Name: "server", OpenConnections: func() []Connection {
		if n := listing.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer listing.Add(-1)
		runtime.Gosched() // lets the others come
		return make([]Connection, 10_000)
	}})})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { ask(t, http.MethodGet, url+"/_connections?limit=1") })
	}
	all.Wait()
	if got := most.Load(); got != 1 {
		t.Errorf("%d lists at once, want 1", got)
	}
}
