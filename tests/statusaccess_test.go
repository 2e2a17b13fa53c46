package tests

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

const (
	firstToken  = "first-T0ken.8c1d"
	secondToken = "second-T0ken.77aa"
)

// TestStatusPortAsksForItsToken over each transport, whatever is asked for.
func TestStatusPortAsksForItsToken(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"http", "https", "unix"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			p, file := newPKI(t), filepath.Join(t.TempDir(), "token")
			writeFile(t, file, []byte(firstToken+"\n"))
			address := transport + "://" + reserve(t)
			if transport == "unix" {
				address = "unix:" + filepath.Join(t.TempDir(), "status")
			}
			server := start(t, serverLine(t, p, reserve(t), serve(t, "tcp", echo).address,
				"--allow-all", "--status", address, "--status-token-file", file, "--enable-pprof", "--enable-shutdown")...)

			paths := map[string]int{
				"/_status": 200, "/_metrics": 200, "/_metrics/json": 200, "/_metrics/prometheus": 200, "/metrics": 200, "/healthz": 200,
				"/version": 200, "/debug/pprof/": 200, "/debug/pprof/goroutine?debug=2": 200, "/debug/pprof/cmdline": 200,
				"/_shutdown": 405, "/_connections": 200, "/nothing": 404,
			}
			for path, want := range paths {
				for _, token := range []string{"", "wrong", firstToken + "x", firstToken[1:], firstToken} {
					server.status.token = token
					resp, err := server.status.do(t.Context(), http.MethodGet, path)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Error(err)
					}
					_ = resp.Body.Close()
					switch challenge := resp.Header.Get("WWW-Authenticate"); {
					case token == firstToken && resp.StatusCode != want:
						t.Errorf("GET %s with the token: %d, want %d\n%s", path, resp.StatusCode, want, body)
					case token != firstToken && (resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer ")):
						t.Errorf("GET %s with the token %q: %d, WWW-Authenticate %q, want 401 and Bearer\n%s", path, token, resp.StatusCode, challenge, body)
					case token != firstToken && len(body) > 100:
						t.Errorf("GET %s with the token %q tells much:\n%s", path, token, body)
					}
				}
			}
			for _, token := range []string{"", "wrong"} {
				server.status.token = token
				for _, path := range []string{"/livez", "/readyz"} {
					if code, body := server.status.get(t, path); code != http.StatusOK || body != "ok\n" {
						t.Errorf("GET %s with the token %q: %d %q", path, token, code, body)
					}
				}
				if code := server.status.post(t, "/_shutdown"); code != http.StatusUnauthorized {
					t.Errorf("POST /_shutdown with the token %q: %d, want 401", token, code)
				}
			}
			if lines := server.lines("wrong token"); len(lines) == 0 {
				t.Error("wrong tokens are not logged")
			}
			server.status.token = firstToken
			if _, r := server.status.report(t); r.Message != "listening" {
				t.Errorf("it is %s after all that was refused", r.Message)
			}
			if code := server.status.post(t, "/_shutdown"); code != http.StatusOK {
				t.Errorf("POST /_shutdown with the token: %d", code)
			}
			if code := server.exit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestTokenIsReloaded by a signal, and when its file is replaced as Kubernetes
// does it.
func TestTokenIsReloaded(t *testing.T) {
	t.Parallel()
	p, dir := newPKI(t), t.TempDir()
	for name, token := range map[string]string{"v1": firstToken, "v2": secondToken} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name, "token"), []byte(token))
	}
	link := func(version string) {
		t.Helper()
		if err := os.Symlink(version, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	link("v1")
	file := filepath.Join(dir, "token")
	if err := os.Symlink("..data/token", file); err != nil {
		t.Fatal(err)
	}
	server := startServer(t, p, reserve(t), serve(t, "tcp", echo).address, "--allow-all", "--status-token-file", file)
	counts := func(token string) bool {
		server.status.token = token
		code, _ := server.status.get(t, "/version")
		return code == http.StatusOK
	}
	if !counts(firstToken) || counts(secondToken) {
		t.Fatal("the first token does not count, or the second does already")
	}

	link("v2")
	eventually(t, "the token of the other directory counts", func() bool { return counts(secondToken) })
	if counts(firstToken) {
		t.Error("the token of before counts still")
	}

	// What is no token changes nothing, and is told.
	writeFile(t, filepath.Join(dir, "v2", "token"), []byte("zwei Worte"))
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "reload failed", "--status-token-file "+file)
	if !counts(secondToken) {
		t.Error("the token has gone with its file")
	}
	eventually(t, "the status tells of the failed reload", func() bool {
		_, r := server.status.report(t)
		return strings.Contains(r.LastReloadError, "--status-token-file "+file)
	})
	if n := metricOf(t, server, `sallyport_reload_total{result="failure",tunnel=""}`); n < 1 {
		t.Error("the metrics do not tell of the failed reload")
	}
	if strings.Contains(server.stdout.String(), "Worte") {
		t.Error("the log has what is in the file")
	}

	writeFile(t, filepath.Join(dir, "v2", "token"), []byte(firstToken))
	server.signal(t, syscall.SIGUSR1)
	eventually(t, "the third token counts", func() bool { return counts(firstToken) })
	eventually(t, "the status has forgotten the failed reload", func() bool {
		_, r := server.status.report(t)
		return r.LastReloadError == ""
	})
	server.stop(t)
}

// TestStatusPortAsksForACertificate in both TLS versions. What the tunnel's
// own CA has issued does not count.
func TestStatusPortAsksForACertificate(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, admins, others := newPKI(t), newPKI(t), newPKI(t)
			admin := admins.client(t)
			port := reserve(t)
			server := startUnready(t, nil, serverLine(t, p, reserve(t), serve(t, "tcp", echo).address,
				"--allow-all", "--max-tls-version", name, "--status", port, "--status-client-ca", admins.root)...)
			server.waitLine(t, "status port listening")
			ask := func(identity *files, sessions tls.ClientSessionCache) (code int, resumed bool) {
				config := p.clientConfig()
				config.ClientSessionCache = sessions
				if identity != nil {
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						pair := identity.TLSCertificate()
						return &pair, nil // whatever CAs the port names
					}
				}
				server.status.client.Transport.(*http.Transport).TLSClientConfig = config
				resp, err := server.status.do(t.Context(), http.MethodGet, "/livez")
				if err != nil {
					return 0, false
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.TLS.Version != version {
					t.Errorf("TLS version %x", resp.TLS.Version)
				}
				return resp.StatusCode, resp.TLS.DidResume
			}

			if code, _ := ask(&admin, nil); code != http.StatusOK {
				t.Errorf("a certificate of the CA: %d, want 200", code)
			}
			ofTunnel, stranger := p.client(t), others.client(t)
			expired := admins.issue(t, "expired", devpki.Request{CommonName: "client", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
			early := admins.issue(t, "early", devpki.Request{CommonName: "client", NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})
			for what, identity := range map[string]*files{
				"no certificate": nil, "one that the tunnel takes": &ofTunnel, "one of another CA": &stranger,
				"an expired one": &expired, "one for later": &early,
			} {
				if code, _ := ask(identity, nil); code != 0 {
					t.Errorf("%s: %d, want no answer", what, code)
				}
			}

			// A session does not outlive the CA.
			sessions := tls.NewLRUClientSessionCache(1)
			if code, _ := ask(&admin, sessions); code != http.StatusOK {
				t.Errorf("the first of a session: %d", code)
			}
			if code, resumed := ask(&admin, sessions); code != http.StatusOK || !resumed {
				t.Errorf("the second of a session: %d, resumed %t", code, resumed)
			}
			data, err := os.ReadFile(others.root)
			if err != nil {
				t.Fatal(err)
			}
			replaceFile(t, admins.root, data)
			server.signal(t, syscall.SIGHUP)
			server.waitLine(t, "msg=reloaded")
			if code, _ := ask(&admin, sessions); code != 0 {
				t.Errorf("with a session of before the CA went: %d, want no answer", code)
			}
			if code, _ := ask(&stranger, nil); code != http.StatusOK {
				t.Errorf("a certificate of the new CA: %d, want 200", code)
			}
			server.stop(t)
		})
	}
}

// TestRevokedCertificatesDoNotOpenTheStatusPort where --crl names them.
func TestRevokedCertificatesDoNotOpenTheStatusPort(t *testing.T) {
	t.Parallel()
	p, port := newPKI(t), reserve(t)
	issuer := newCRLIssuer(t, p)
	good, bad := p.issue(t, "good", devpki.Request{CommonName: "good"}), p.issue(t, "bad", devpki.Request{CommonName: "bad"})
	issuer.revoke(bad.cert)
	issuer.publish()
	server := startUnready(t, nil, serverLine(t, p, reserve(t), serve(t, "tcp", echo).address,
		"--allow-all", "--crl", issuer.path, "--status", port, "--status-client-ca", p.root)...)
	server.waitLine(t, "status port listening")
	for _, c := range []struct {
		identity files
		code     int
	}{{good, http.StatusOK}, {bad, 0}} {
		server.status.client.Transport.(*http.Transport).TLSClientConfig = p.clientConfig(c.identity)
		code := 0
		if resp, err := server.status.do(t.Context(), http.MethodGet, "/livez"); err == nil {
			code = resp.StatusCode
			_ = resp.Body.Close()
		}
		if code != c.code {
			t.Errorf("%s: %d, want %d", c.identity.Leaf.Subject, code, c.code)
		}
	}
	server.stop(t)
}

// TestCurlAsksTheStatusPort with a token and a certificate, as the guide says.
func TestCurlAsksTheStatusPort(t *testing.T) {
	t.Parallel()
	p, admins, port := newPKI(t), newPKI(t), reserve(t)
	admin, file := admins.client(t), filepath.Join(p.dir, "token")
	writeFile(t, file, []byte(firstToken+"\n"))
	server := startUnready(t, nil, serverLine(t, p, reserve(t), serve(t, "tcp", echo).address,
		"--allow-all", "--status", port, "--status-token-file", file, "--status-client-ca", admins.root)...)
	server.waitLine(t, "status port listening")
	code := func(flags ...string) string {
		all := slices.Concat([]string{"--silent", "--noproxy", "*", "--max-time", "60", "--output", os.DevNull, "--write-out", "%{http_code}", "--cacert", p.root}, flags)
		out, err := exec.Command(need(t, "curl"), append(all, "https://"+port+"/version")...).Output()
		if err != nil && len(out) == 0 {
			t.Fatal(err)
		}
		return string(out) // 000 without an answer
	}
	certificate, token := []string{"--cert", admin.cert, "--key", admin.key}, []string{"--header", "Authorization: Bearer " + firstToken}
	for _, c := range []struct {
		what, want string
		flags      []string
	}{
		{"both", "200", slices.Concat(certificate, token)},
		{"the certificate alone", "401", certificate},
		{"the token alone", "000", token},
		{"neither", "000", nil},
	} {
		if got := code(c.flags...); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	server.stop(t)
}

// TestACrowdAtTheStatusPortTakesNothingFromTheTunnels, nor keeps probes out.
func TestACrowdAtTheStatusPortTakesNothingFromTheTunnels(t *testing.T) {
	t.Parallel()
	p, listen, status := newPKI(t), reserve(t), reserve(t)
	server := startLimited(t, 400, append(p.server(t).flags(), "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
		"--cacert", p.root, "--allow-all", "--status", "http://"+status)...)
	for range 1000 {
		dial(t, "tcp", status)
	}
	server.waitLine(t, "status port: too many connections")
	if !server.status.ready(t) {
		t.Error("a probe is not answered")
	}
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Errorf("a client is kept out: %v", err)
	}
	if lines := server.lines("too many open files"); len(lines) > 0 {
		t.Errorf("%d lines such as %s", len(lines), lines[0])
	}
	server.stop(t)
}
