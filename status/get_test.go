package status

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// dialTo returns a dial function for a server's address.
func dialTo(server *httptest.Server) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
}

func TestGetExpects200(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	for path, code := range map[string]int{"/ok": 200, "/created": 201, "/empty": 204, "/error": 500, "/busy": 503} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	mux.Handle("/moved", http.RedirectHandler("/ok", http.StatusFound))
	mux.Handle("/lost", http.RedirectHandler("/nowhere", http.StatusFound))
	mux.Handle("/circle", http.RedirectHandler("/circle", http.StatusFound))
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/big-header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Big", strings.Repeat("x", 2*maxAnswerHeader))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	for path, want := range map[string]string{
		"/ok":         "",
		"/moved":      "",
		"/endless":    "",
		"/created":    "it answered 201, not 200",
		"/empty":      "it answered 204, not 200",
		"/error":      "it answered 500, not 200",
		"/busy":       "it answered 503, not 200",
		"/lost":       "it answered 404, not 200",
		"/circle":     "stopped after 10 redirects",
		"/big-header": "server response headers exceeded",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			err := Get("http://backend.example"+path, dialTo(server), nil)(t.Context())
			if want == "" && err != nil {
				t.Errorf("%v, want success", err)
			}
			if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

func TestGetMakesANewConnectionEachTime(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "backend.example" {
			t.Errorf("asked for host %q", r.Host)
		}
	}))
	t.Cleanup(server.Close)
	var dialled atomic.Int64
	run := Get("http://backend.example/health", func(ctx context.Context) (net.Conn, error) {
		dialled.Add(1)
		return dialTo(server)(ctx)
	}, nil)
	for range 3 {
		if err := run(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if got := dialled.Load(); got != 3 {
		t.Errorf("%d connections, want 3", got)
	}
}

func TestGetVerifiesHTTPS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	trusting := &tls.Config{RootCAs: roots}

	if err := Get("https://example.com/", dialTo(server), trusting)(t.Context()); err != nil {
		t.Errorf("trusted: %v", err)
	}
	var unknown x509.UnknownAuthorityError
	if err := Get("https://example.com/", dialTo(server), nil)(t.Context()); !errors.As(err, &unknown) {
		t.Errorf("not trusted: %v", err)
	}
	var wrongName x509.HostnameError
	if err := Get("https://elsewhere.example/", dialTo(server), trusting)(t.Context()); !errors.As(err, &wrongName) {
		t.Errorf("another name: %v", err)
	}
}

func TestGetEndsWithItsContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Get("http://backend.example/", dialTo(server), nil)(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline's error", err)
	}
}

func TestGetKeepsTheURLToItself(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	dial := func(context.Context) (net.Conn, error) { return nil, refused }
	for _, rawURL := range []string{
		"http://user:secret@backend.example/?token=secret",
		"http://backend.example/%zz?secret",
		"gopher://backend.example/secret",
	} {
		err := Get(rawURL, dial, nil)(t.Context())
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want an error without the secret", rawURL, err)
		}
	}
	if err := Get("http://backend.example/", dial, nil)(t.Context()); !errors.Is(err, refused) {
		t.Errorf("%v, want the dial's error in it", err)
	}
}
