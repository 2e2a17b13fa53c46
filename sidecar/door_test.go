package sidecar

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// authority makes one more CA in the directory, and a client identity of it.
func authority(t *testing.T, dir, name string) tls.Certificate {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: name})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue(devpki.Request{CommonName: "client of " + name})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string][]byte{name + ".pem": ca.PEM()})
	return id.TLSCertificate()
}

// copyOf replaces a file by another, as one step.
func copyOf(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// asking is a client of the status port, which sends the token if it has one and shows the certificate if there is one.
func (r *rig) asking(t *testing.T, address, token string, certificates ...tls.Certificate) (code int, err error) {
	t.Helper()
	config := tlsConfig(t, r.dir, "")
	if len(certificates) > 0 { // shown whatever CAs the port names
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificates[0], nil }
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Body.Close()
}

func TestTheStatusPortWantsTokenAndCertificate(t *testing.T) {
	t.Parallel()
	dir, address := newDir(t), freePort(t)
	admin, stranger := authority(t, dir, "admins"), authority(t, dir, "strangers")
	write(t, dir, map[string][]byte{"token": []byte("first\n")})
	line := strings.Replace(serverLine, "unix:@/status", "https://"+address, 1)
	r := start(t, dir, line+"--allow-all --no-watch-files --status-token-file @/token --status-client-ca @/admins.pem")
	ofTunnel, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name         string
		token        string
		certificates []tls.Certificate
		code         int // 0: the handshake fails
	}{
		{"both", "first", []tls.Certificate{admin}, 200},
		{"no token", "", []tls.Certificate{admin}, 401},
		{"wrong token", "second", []tls.Certificate{admin}, 401},
		{"no certificate", "first", nil, 0},
		{"certificate of another CA", "first", []tls.Certificate{stranger}, 0},
		{"certificate that the tunnel would take", "first", []tls.Certificate{ofTunnel}, 0},
	} {
		if code, err := r.asking(t, address, c.token, c.certificates...); code != c.code || (err == nil) != (c.code != 0) {
			t.Errorf("%s: %d, %v; want %d", c.name, code, err, c.code)
		}
	}
	r.waitLog(t, "status port: certificate refused", 2)
	if log := r.log.String(); strings.Count(log, "reason=unknown_ca") != 2 || !strings.Contains(log, "client of strangers") || !strings.Contains(log, "reason=wrong_token") {
		t.Errorf("the log does not tell of two certificates and a token that were refused:\n%s", log)
	}

	// Each part is reloaded whole or not at all; one that fails keeps none of the others.
	write(t, dir, map[string][]byte{"token": []byte("second"), "admins.pem": []byte("nonsense")})
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 1)
	if code, err := r.asking(t, address, "second", admin); code != 200 {
		t.Errorf("after a reload of the token alone: %d, %v", code, err)
	}
	copyOf(t, dir+"/strangers.pem", dir+"/admins.pem")
	write(t, dir, map[string][]byte{"token": []byte("two words")})
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 2)
	if code, err := r.asking(t, address, "second", stranger); code != 200 {
		t.Errorf("after a reload of the CA alone: %d, %v", code, err)
	}
	if code, err := r.asking(t, address, "second", admin); err == nil {
		t.Errorf("a certificate of the CA that went: %d", code)
	}
	if strings.Contains(r.log.String(), "two words") {
		t.Errorf("the log has what is in the token's file:\n%s", r.log)
	}
	write(t, dir, map[string][]byte{"token": []byte("third")})
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "msg=reloaded", 1)
	if code, err := r.asking(t, address, "third", stranger); code != 200 {
		t.Errorf("at last: %d, %v", code, err)
	}
}

func TestTheDoorsFilesAreWatched(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	write(t, dir, map[string][]byte{"token": []byte("first"), "next": []byte("second")})
	r := start(t, dir, serverLine+"--allow-all --status-token-file @/token")
	ask := func(token string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://status/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := r.http().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if first, second := ask("first"), ask("second"); first != 200 || second != 401 {
		t.Errorf("%d and %d before", first, second)
	}
	copyOf(t, dir+"/next", dir+"/token")
	r.waitLog(t, "msg=reloaded", 1)
	if first, second := ask("first"), ask("second"); first != 401 || second != 200 {
		t.Errorf("%d and %d after", first, second)
	}
	r.waitLog(t, `cause="the status port has new material"`, 1)
}

func TestADoorThatCannotBeLoadedKeepsItShut(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	write(t, dir, map[string][]byte{"words": []byte("not a token"), "token": []byte("first")})
	tcp := strings.Replace(serverLine, "unix:@/status", "https://"+freePort(t), 1) + "--allow-all "
	for line, want := range map[string]string{
		tcp + "--status-token-file @/none":                                      "--status-token-file " + dir + "/none: no such file",
		tcp + "--status-token-file @/words":                                     "--status-token-file " + dir + "/words: not a token",
		tcp + "--status-token-file @/token --status-client-ca @/none":           "--status-client-ca " + dir + "/none: no such file",
		tcp + "--status-token-file @/token --status-client-ca @/client-key.pem": "--status-client-ca " + dir + "/client-key.pem: no certificate in it",
	} {
		s, err := New(t.Context(), parse(t, dir, line), Build{}, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n\t%v, want %s", line, err, want)
		}
		if s != nil {
			t.Error("there is a Sidecar beside the error")
		}
		var out strings.Builder
		if err := Check(t.Context(), parse(t, dir, line), &out); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("check: %s\n\t%v, want %s", line, err, want)
		}
	}
	var out strings.Builder
	if err := Check(t.Context(), parse(t, dir, tcp+"--status-token-file @/token --status-client-ca @/ca.pem"), &out); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"asks for     --status-token-file " + dir + "/token", "clients of   --status-client-ca " + dir + "/ca.pem, 1 CA"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "first,") {
		t.Errorf("the report has the token:\n%s", &out)
	}
}
