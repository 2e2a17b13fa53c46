package tests

import (
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestStatusTellsOfTheBackend asks both modes while the service at the end is
// there and when it has gone.
func TestStatusTellsOfTheBackend(t *testing.T) {
	t.Parallel()
	service := serve(t, "tcp", echo)
	tun := newTunnel(t, "tcp", service.address)

	for _, p := range []*process{tun.server, tun.client} {
		code, got := p.status.report(t)
		if code != http.StatusOK || !got.OK || got.Message != "listening" || got.BackendStatus != "ok" || got.BackendError != "" {
			t.Errorf("%s: %d %+v, want 200, and all is well", p.name, code, got)
		}
	}

	service.close()
	gone := time.Now()
	eventually(t, "the server's status says that the backend is gone", func() bool {
		code, got := tun.server.status.report(t)
		return code == http.StatusServiceUnavailable && !got.OK && got.BackendStatus == "critical" && got.BackendError != ""
	})
	if since := time.Since(gone); since > 10*time.Second {
		t.Errorf("that took %v, though answers are shared for a second at most", since)
	}
	if code, _ := tun.server.status.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d, want 200: it is not about the backend", code)
	}
	if code, _ := tun.server.status.get(t, "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("/healthz: %d, want 503", code)
	}
	tun.stop(t)
}

// TestStatusPortOverEachTransport asks all paths that an operator may, over
// plain HTTP, HTTPS with the tunnel's own certificate, and a UNIX socket.
func TestStatusPortOverEachTransport(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"http", "https", "https by default", "unix"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			p, listen, port := newPKI(t), reserve(t), reserve(t)
			id, service := p.server(t), serve(t, "tcp", echo)
			address := map[string]string{
				"http":             "http://" + port,
				"https":            "https://" + port,
				"https by default": port,
				"unix":             "unix:" + filepath.Join(t.TempDir(), "status"),
			}[transport]
			server := start(t, append(id.flags(), "server", "--listen", listen, "--target", service.address,
				"--cacert", p.root, "--allow-all", "--status", address)...)
			if strings.HasPrefix(transport, "https") {
				// The port's certificate is for this machine and of the CA.
				server.status.client.Transport.(*http.Transport).TLSClientConfig = p.clientConfig()
			}
			for path, want := range map[string]int{
				"/_status":                    http.StatusOK,
				"/livez":                      http.StatusOK,
				"/readyz":                     http.StatusOK,
				"/healthz":                    http.StatusOK,
				"/version":                    http.StatusOK,
				"/_metrics":                   http.StatusOK,
				"/_metrics/json":              http.StatusOK,
				"/_metrics/prometheus":        http.StatusOK,
				"/metrics":                    http.StatusOK,
				"/_metrics?format=prometheus": http.StatusOK,
				"/_shutdown":                  http.StatusNotFound, // not enabled
				"/debug/pprof/":               http.StatusNotFound,
				"/debug/pprof/goroutine":      http.StatusNotFound,
				"/debug/pprof/profile":        http.StatusNotFound,
				"/nothing":                    http.StatusNotFound,
				"/_status/../../etc/passwd":   http.StatusNotFound,
			} {
				if code, body := server.status.get(t, path); code != want {
					t.Errorf("GET %s: %d, want %d\n%s", path, code, want, body)
				}
			}
			if _, r := server.status.report(t); r.ListenAddress != listen || r.ForwardAddress != service.address {
				t.Errorf("the status names %s and %s, want %s and %s", r.ListenAddress, r.ForwardAddress, listen, service.address)
			}
			server.stop(t)
		})
	}
}

func TestStatusPortShowsTheReloadedCertificate(t *testing.T) {
	t.Parallel()
	p, status := newPKI(t), reserve(t)
	old := p.server(t)
	server := start(t, append(old.flags(), "server", "--listen", reserve(t), "--target", serve(t, "tcp", echo).address,
		"--cacert", p.root, "--allow-all", "--status", status)...)
	config := p.clientConfig()
	certificate := func() *x509.Certificate {
		conn := connect(t, status, config)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		return conn.ConnectionState().PeerCertificates[0]
	}
	if !certificate().Equal(old.Leaf) {
		t.Error("the status port shows another certificate than the tunnel's")
	}
	renewed := p.server(t)
	server.signal(t, syscall.SIGHUP)
	eventually(t, "the status port shows the new certificate", func() bool { return certificate().Equal(renewed.Leaf) })
	server.stop(t)
}

func TestStatusPortRefusesWrongMethods(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	server := startServer(t, p, reserve(t), serve(t, "tcp", echo).address, "--allow-all", "--enable-shutdown", "--enable-pprof")
	for _, test := range []struct{ method, path, allow string }{
		{http.MethodGet, "/_shutdown", http.MethodPost},
		{http.MethodHead, "/_shutdown", http.MethodPost},
		{http.MethodPut, "/_shutdown", http.MethodPost},
		{http.MethodDelete, "/_shutdown", http.MethodPost},
		{http.MethodPost, "/_status", http.MethodGet},
		{http.MethodPost, "/readyz", http.MethodGet},
		{http.MethodPost, "/_metrics", http.MethodGet},
		{http.MethodDelete, "/debug/pprof/", http.MethodGet},
	} {
		resp, err := server.status.do(t.Context(), test.method, test.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if allow := resp.Header.Get("Allow"); resp.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(allow, test.allow) {
			t.Errorf("%s %s: %d, Allow %q; want 405, %s", test.method, test.path, resp.StatusCode, allow, test.allow)
		}
	}
	if code, _ := server.status.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz after that: %d, want 200", code)
	}
	server.stop(t)
}

func TestStatusPortHasProfilesWhenEnabled(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	store := filepath.Join(p.dir, "server.p12")
	data, err := p.server(t).PKCS12("s3cret-passw0rd")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, store, data)
	server := start(t, "server", "--keystore", store, "--storepass", "s3cret-passw0rd", "--listen", reserve(t),
		"--target", serve(t, "tcp", echo).address, "--cacert", p.root, "--allow-all", "--status", "http://"+reserve(t), "--enable-pprof")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1"} {
		code, body := server.status.get(t, path)
		if code != http.StatusOK || body == "" {
			t.Errorf("GET %s: %d with %d bytes, want 200 and something", path, code, len(body))
		}
		if strings.Contains(body, "s3cret") {
			t.Errorf("GET %s shows the password", path)
		}
	}
	server.stop(t)
}

// TestStatusPortCutsRequestsThatNeverEnd sends bytes of one for as long as the
// port takes them; others are answered meanwhile.
func TestStatusPortCutsRequestsThatNeverEnd(t *testing.T) {
	t.Parallel()
	p, plain, secure := newPKI(t), reserve(t), reserve(t)
	target := serve(t, "tcp", echo).address
	var servers []*process
	for _, status := range []string{"http://" + plain, "https://" + secure} {
		servers = append(servers, start(t, serverLine(t, p, reserve(t), target, "--allow-all", "--enable-pprof", "--status", status)...))
	}
	before := servers[0].holdings(t)
	tests := []struct{ name, address, start, more string }{
		{"request line", plain, "GET /", "x"},
		{"header", plain, "GET /_status HTTP/1.1\r\nHost: localhost\r\nX-Long: ", "x"},
		{"headers", plain, "GET /_status HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n"},
		{"silence", plain, "", ""},
		{"garbage", plain, "\x00\xff\x16\x03\x01", "\x00"},
		{"handshake", secure, "\x16\x03\x01\x3f\xff", "x"},
		{"silence instead of a handshake", secure, "", ""},
	}
	if full() { // a request's body has more time than its header
		tests = append(tests, struct{ name, address, start, more string }{
			"body", plain, "GET /_status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n",
		})
	}
	var all sync.WaitGroup
	for _, test := range tests {
		conn := dial(t, "tcp", test.address)
		all.Go(func() {
			if !endsWhileSending(conn, test.start, test.more) {
				t.Errorf("%s: the connection stays open", test.name)
			}
		})
	}
	for _, server := range servers {
		for range 20 {
			if code, _ := server.status.get(t, "/readyz"); code != http.StatusOK {
				t.Errorf("%s: /readyz: %d", server.name, code)
			}
		}
	}
	all.Wait()
	before.waitFor(t, servers[0])
	for _, server := range servers {
		server.stop(t)
	}
}

// endsWhileSending sends first and then more, again and again, and reports
// whether the other end closes the connection.
func endsWhileSending(conn net.Conn, first, more string) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn) // an error is an end too
	}()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for next := first; ; next = more {
		_, _ = io.WriteString(conn, next) // ended tells when it is over
		select {
		case <-again.C:
		case <-ended:
			return true
		case <-deadline.C:
			_ = conn.Close()
			<-ended
			return false
		}
	}
}

// TestMetricsHaveGhostunnelsNames, in JSON and for Prometheus, with the prefix
// that was asked for.
func TestMetricsHaveGhostunnelsNames(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all", "--metrics-prefix", "sidecar")
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Fatal(err)
	}
	server.waitLine(t, "closed pipe")
	for name, want := range map[string]float64{
		"sidecar.conn.open": 0, "sidecar.conn.timeout": 0, "sidecar.accept.total": 1, "sidecar.accept.success": 1,
		"sidecar.accept.error": 0, "sidecar.accept.timeout": 0, "sidecar.conn.handshake.count": 1, "sidecar.conn.lifetime.count": 1,
	} {
		if got := server.status.metric(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	_, text := server.status.get(t, "/_metrics?format=prometheus")
	for _, line := range []string{"sidecar_accept_total 1", "sidecar_conn_open 0", "sidecar_conn_handshake_count 1", "sidecar_conn_lifetime_count 1"} {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("no %q among\n%s", line, text)
		}
	}
	server.stop(t)
}
