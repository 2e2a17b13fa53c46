package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew")

// document is a file of testdata.
func document(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(document(t, name)), text); diff != "" {
		t.Errorf("%s: -want +got:\n%s", name, diff)
	}
}

// port serves a status port's paths from memory.
func port(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// documents serves the documents of testdata.
func documents(t *testing.T) http.Handler {
	status := document(t, "status.json")
	mux := http.NewServeMux()
	mux.HandleFunc("/_status", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(status)
	})
	first, second := document(t, "connections-1.json"), document(t, "connections-2.json")
	mux.HandleFunc("/_connections", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "web/8" {
			_, _ = w.Write(second)
			return
		}
		_, _ = w.Write(first)
	})
	return mux
}

// client looks at server.
func client(t *testing.T, server *httptest.Server, o Options) *Client {
	t.Helper()
	o.Network, o.Address, o.Timeout = "tcp", server.Listener.Addr().String(), 10*time.Second
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestShow(t *testing.T) {
	t.Parallel()
	server := port(t, documents(t))
	for name, o := range map[string]Options{
		"status.txt":      {},
		"connections.txt": {Connections: true},
	} {
		var out strings.Builder
		healthy, err := client(t, server, o).Show(t.Context(), &out)
		if err != nil || healthy {
			t.Errorf("%s: healthy %v, error %v", name, healthy, err)
		}
		golden(t, name, out.String())
		for _, r := range out.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s: %q went to the terminal", name, r)
			}
		}
	}
}

func TestShowLooksAtOneTunnel(t *testing.T) {
	t.Parallel()
	var asked []string
	server := port(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		switch {
		case r.URL.Query().Get("tunnel") != "a/b":
			http.Error(w, "there is no tunnel c, but a/b", http.StatusNotFound)
		case r.URL.Path == "/_connections":
			_, _ = io.WriteString(w, `{"total":0,"connections":[]}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"tunnels":[{"name":"a/b","error":"--cert\u001b: no such file","listen_address":"localhost:1"}]}`)
		}
	}))
	var out bytes.Buffer
	if healthy, err := client(t, server, Options{Tunnel: "a/b", Connections: true}).Show(t.Context(), &out); err != nil || healthy {
		t.Errorf("healthy %t, %v", healthy, err)
	}
	if want := []string{"/_status?tunnel=a%2Fb", "/_connections?limit=1000&tunnel=a%2Fb"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	if text := out.String(); !strings.Contains(text, "tunnel a/b") || !strings.Contains(text, "no such file") || strings.Contains(text, "backend") || strings.Contains(text, "\x1b") {
		t.Errorf("shown:\n%s", text)
	}
	if _, err := client(t, server, Options{Tunnel: "c"}).Show(t.Context(), io.Discard); err == nil || !strings.HasSuffix(err.Error(), "there is no tunnel c, but a/b") {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestShowPassesDocumentsThrough(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if _, err := client(t, port(t, documents(t)), Options{JSON: true, Connections: true}).Show(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i, name := range []string{"status.json", "connections-1.json", "connections-2.json"} {
		if i >= len(lines) {
			t.Fatalf("%d documents, want 3:\n%s", len(lines), &out)
		}
		var want, got any
		if err := errors.Join(json.Unmarshal(document(t, name), &want), json.Unmarshal([]byte(lines[i]), &got)); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if strings.ContainsFunc(lines[i], isHidden) {
			t.Errorf("%s: what a terminal would not show, or worse: %q", name, lines[i])
		}
	}
}

func TestShowTellsWhyItCannotReachThePort(t *testing.T) {
	t.Parallel()
	says := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		what    string
		handler http.HandlerFunc
		options Options
		want    string
	}{
		{"no token", says(401, ""), Options{}, "--token-file PATH"},
		{"wrong token", says(401, ""), Options{Token: "x"}, "the token is not the right one"},
		{"HTTPS", says(400, "Client sent an HTTP request to an HTTPS server.\n"), Options{}, "write https://127.0.0.1:"},
		{"plain HTTP", says(200, ""), Options{TLS: true}, "write http://127.0.0.1:"},
		{"no such path", says(404, ""), Options{}, "may not be a status port"},
		{"a web page", says(200, "<html>"), Options{}, "not what a status port answers"},
		{"another type", says(200, "[]"), Options{}, "not what a status port answers"},
		{"an error", says(500, "\x1b[2J"), Options{}, "the answer is 500 Internal Server Error"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, Options{}, "302 Found"},
		{"a connection cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Options{}, "EOF"},
		{
			"an answer without end",
			func(w http.ResponseWriter, _ *http.Request) {
				for block := bytes.Repeat([]byte(" "), 1<<20); ; {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			},
			Options{}, "the answer is larger than",
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			_, err := client(t, port(t, c.handler), c.options).Show(t.Context(), &out)
			if !errors.As(err, new(*UnreachableError)) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/_status: ") {
				t.Errorf("%v, want an UnreachableError with %q", err, c.want)
			}
			if out.Len() > 0 {
				t.Errorf("printed %q", &out)
			}
		})
	}
}

func TestShowTellsOfWhatIsNeitherHTTPSNorHTTP(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil) // which nothing but its listener is used of
	t.Cleanup(server.Close)
	greeted := make(chan struct{})
	t.Cleanup(func() { <-greeted })
	go func() {
		defer close(greeted)
		conn, err := server.Listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	_, err := client(t, server, Options{TLS: true}).Show(t.Context(), io.Discard)
	if !errors.As(err, new(*UnreachableError)) || !strings.HasSuffix(err.Error(), "; it speaks no TLS; is this its --status?") {
		t.Errorf("%v", err)
	}
}

func TestShowWaitsNoLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := port(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer close(release)
	c := client(t, server, Options{})
	c.options.Timeout = 20 * time.Millisecond
	if _, err := c.Show(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "no answer within --timeout 20ms") {
		t.Error(err)
	}
}

func TestShowSendsItsTokenToThePortAlone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("  s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status := document(t, "status.json")
	for _, o := range []Options{{Token: "s3cret"}, {TokenFile: file}} {
		c := client(t, port(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer s3cret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write(status)
		})), o)
		if _, err := c.Show(t.Context(), io.Discard); err != nil {
			t.Error(err)
		}
	}
}

func TestNewRefusesFilesThatAreOfNoUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, two := filepath.Join(dir, "empty"), filepath.Join(dir, "two")
	for path, text := range map[string]string{empty: "\n", two: "s3cret words"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, o := range map[string]Options{
		"--token-file: open ": {TokenFile: filepath.Join(dir, "none")},
		": no token in it":    {TokenFile: empty},
		": not a token":       {TokenFile: two},
		"--cacert: open ":     {TLS: true, CAFile: filepath.Join(dir, "none")},
		"no certificate":      {TLS: true, CAFile: empty},
		"--cert ":             {TLS: true, CertFile: empty, KeyFile: empty},
	} {
		o.Network, o.Address = "tcp", "localhost:1"
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func TestAPortOnEveryAddressIsDialledHere(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		":6060": "localhost:6060", "0.0.0.0:6060": "localhost:6060", "[::]:6060": "localhost:6060",
		"10.0.0.1:6060": "10.0.0.1:6060", "web.example.com:6060": "web.example.com:6060",
	} {
		o := Options{Network: "tcp", Address: address}
		config, err := trust(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := dialled(o); got != want || config.ServerName != strings.TrimSuffix(want, ":6060") {
			t.Errorf("%s: dials %s and verifies %s, want %s", address, got, config.ServerName, want)
		}
	}
}

func TestWatchShowsRatesAndGoesOnWhenThePortIsGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	mux := http.NewServeMux()
	mux.HandleFunc("/_status", func(w http.ResponseWriter, _ *http.Request) {
		looks++
		switch looks {
		case 3:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprintf(w, `{"ok":true,"status":"ok","message":"listening","backend_ok":true,"backend_status":"ok","connections":{"open":1,"total":%d},"time":"2026-11-20T12:00:%02dZ"}`, looks*20, looks*2)
		}
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE sallyport_bytes_total counter\nsallyport_bytes_total{direction=\"in\",tunnel=\"a\"} %d\nsallyport_bytes_total{direction=\"out\",tunnel=\"} b\"} 1e3\n", looks*4000)
		if looks == 5 {
			cancel()
		}
	})
	c := client(t, port(t, mux), Options{})
	c.options.Interval = time.Millisecond
	var out strings.Builder
	healthy, err := c.Watch(ctx, &out)
	if !healthy || err != nil {
		t.Errorf("healthy %v, error %v", healthy, err)
	}
	blocks := strings.Split(out.String(), "\n\n2026")
	if len(blocks) < 2 || strings.Contains(blocks[0], "/s") {
		t.Fatalf("%d blocks, the first without rates wanted:\n%s", len(blocks), &out)
	}
	for _, want := range []string{"1 open, 40 accepted, 10.0/s\n", "2.0 kB/s in, 0 B/s out\n"} {
		if !strings.Contains(blocks[1], want) {
			t.Errorf("no %q in:\n%s", want, blocks[1])
		}
	}
	if !strings.Contains(out.String(), "unreachable: http://127.0.0.1:") {
		t.Errorf("the failure does not show:\n%s", &out)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("control sequences where there is no terminal:\n%q", out.String())
	}
}

func TestWatchTellsWhatTheLastLookSaid(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := client(t, port(t, http.NotFoundHandler()), Options{})
	c.options.Interval = time.Hour
	_, err := c.Watch(ctx, writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	}))
	if !errors.As(err, new(*UnreachableError)) {
		t.Errorf("%v, want an UnreachableError", err)
	}
}

func TestWatchThatIsEndedBeforeItHasSeenAnythingKnowsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := client(t, port(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})), Options{})
	c.options.Interval = time.Hour
	if healthy, err := c.Watch(ctx, io.Discard); healthy || !errors.As(err, new(*UnreachableError)) {
		t.Errorf("healthy %v, %v, want an UnreachableError", healthy, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestRatesOfConnections are of what came since the look before; of a new connection that is all.
func TestRatesOfConnections(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	look := func(at time.Time, open ...connection) *sight {
		return &sight{report: report{Time: at}, pages: []page{{Total: len(open), Connections: open}}}
	}
	kept := connection{ID: "web/1", Since: now.Add(-time.Hour), In: 5000, Out: 1000}
	before := look(now, kept)
	kept.In, kept.Out = 9000, 1000
	after := look(now.Add(2*time.Second), kept, connection{ID: "web/2", Since: now, In: 600})
	text := after.connections(style{}, before)
	for id, want := range map[string]string{"web/1": "9.0 kB 1.0 kB 2.0 kB 0 B", "web/2": "600 B 0 B 300 B 0 B"} {
		i := strings.Index(text, id)
		if i < 0 || !strings.Contains(strings.Join(strings.Fields(text[i:]), " "), want) {
			t.Errorf("of %s no %q in\n%s", id, want, text)
		}
	}
	if !strings.HasPrefix(text, "2 connections\n") {
		t.Errorf("%s", text)
	}
}

// TestATunnelThatDoesNotRunIsShownWithItsFault, and without a backend that nobody has asked.
func TestATunnelThatDoesNotRunIsShownWithItsFault(t *testing.T) {
	t.Parallel()
	s := new(sight)
	const text = `{"time":"2026-11-20T12:00:00Z","last_reload":"2026-11-20T11:59:00Z","last_reload_error":"no such luck","tunnels":[
		{"name":"web","error":"--cert none.pem: no such file","mode":"server","listen_address":":8443","forward_address":"localhost:80","backend_status":"critical"}]}`
	if err := json.Unmarshal([]byte(text), &s.report); err != nil {
		t.Fatal(err)
	}
	got := s.text(style{}, nil)
	for _, want := range []string{
		"  fault        --cert none.pem: no such file\n  mode         server\n  listener     :8443\n  target       localhost:80\n",
		"last reload  1 min 0 s ago, failed: no such luck\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "backend") {
		t.Errorf("a backend is shown:\n%s", got)
	}
}

func TestColoursFollowHowWellItIs(t *testing.T) {
	t.Parallel()
	s := new(sight)
	if err := json.Unmarshal(document(t, "status.json"), &s.report); err != nil {
		t.Fatal(err)
	}
	text := s.text(style{colours: true}, nil)
	for _, want := range []string{
		"\x1b[1;31mcritical\x1b[0m: stopping", "\x1b[1;31m2 days\x1b[0m", "\x1b[33m19 days\x1b[0m", "\x1b[32m3328 days\x1b[0m", "\x1b[1;31mexpired\x1b[0m",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	asked := 0
	server := port(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/_shutdown" || r.Header.Get("Authorization") != "Bearer word" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		asked++
	}))
	var out strings.Builder
	if begun, err := client(t, server, Options{Token: "word"}).Stop(t.Context(), &out); err != nil || !begun || asked != 1 || out.String() != "shutting down\n" {
		t.Errorf("begun %v, error %v, asked %d times: %q", begun, err, asked, &out)
	}
	_, err := client(t, server, Options{}).Stop(t.Context(), io.Discard)
	if !errors.As(err, new(*UnreachableError)) || !strings.Contains(err.Error(), "--enable-shutdown") {
		t.Errorf("error %v", err)
	}
}

// TestAddressesMayHaveAZone, as those that are link-local need one.
func TestAddressesMayHaveAZone(t *testing.T) {
	t.Parallel()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	loopback := slices.IndexFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	for _, secure := range []bool{false, true} {
		server := httptest.NewUnstartedServer(documents(t))
		if server.Listener, err = net.Listen("tcp", "[::1]:0"); err != nil {
			t.Fatal(err)
		}
		o := Options{Network: "tcp", TLS: secure, Timeout: 10 * time.Second}
		if secure {
			server.StartTLS()
			o.CAFile = filepath.Join(t.TempDir(), "ca.pem")
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			if err := os.WriteFile(o.CAFile, ca, 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		o.Address = strings.Replace(server.Listener.Addr().String(), "]", "%"+all[loopback].Name+"]", 1)
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Show(t.Context(), io.Discard); err != nil {
			t.Error(err)
		}
	}
}
