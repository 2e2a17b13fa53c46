package tests

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/devpki"
)

// acmeName is the name that certificates are issued for. It is found here:
// every name is, for the Pebble of these tests.
const acmeName = "server.sallyport.example"

// A pebble is an ACME CA: Let's Encrypt's for tests, with a DNS server for which
// every name is this machine.
type pebble struct {
	*process

	directory string         // URL
	roots     *x509.CertPool // what it issues chains to
	trust     string         // file with the CA of its own HTTPS certificate
}

// startPebble starts a Pebble that validates names at an address of this
// machine, as a real CA does at port 443, and issues for so many seconds. It
// issues nothing for names below blocked.example.
func startPebble(t *testing.T, validates string, seconds int) *pebble {
	t.Helper()
	dns, listen, management := reserve(t), reserve(t), reserve(t)
	startPeer(t, "pebble-challtestsrv", "-dnsserver", dns, "-defaultIPv6", "", "-management", reserve(t),
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	accepting(t, "tcp", dns)

	p := newPKI(t)
	identity := p.server(t)
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":           listen,
		"managementListenAddress": management,
		"certificate":             identity.cert,
		"privateKey":              identity.key,
		"tlsPort":                 json.Number(port(t, validates)),
		"keyAlgorithm":            "ecdsa",
		"domainBlocklist":         []string{"blocked.example"},
		"retryAfter":              map[string]int{"authz": 1, "order": 1},
		"profiles":                map[string]any{"default": map[string]any{"validityPeriod": seconds}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "pebble.json")
	writeFile(t, config, settings)
	cmd := exec.Command(need(t, "pebble"), "-config", config, "-dnsserver", dns)
	// It validates at once, and each time anew.
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	ca := &pebble{process: launch(t, cmd), directory: "https://" + listen + "/dir", trust: p.root}
	accepting(t, "tcp", listen)
	accepting(t, "tcp", management)

	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: p.Pool()},
	}}
	response, err := client.Get("https://" + management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	root, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	ca.roots = x509.NewCertPool()
	if !ca.roots.AppendCertsFromPEM(root) {
		t.Fatalf("Pebble's root: %q", root)
	}
	return ca
}

// An acmeServer is sallyport in server mode with a certificate of a pebble.
type acmeServer struct {
	address string
	pki     *pki // of its clients
	alice   tls.Certificate
	env     []string
	args    []string
}

// newACMEServer prepares a server that lets alice in, and keeps what it gets in
// a directory of its own.
func newACMEServer(t *testing.T, address, target string, ca *pebble, args ...string) *acmeServer {
	t.Helper()
	p := newPKI(t)
	return &acmeServer{
		address: address,
		pki:     p,
		alice:   p.issue(t, "alice", devpki.Request{CommonName: "alice"}).TLSCertificate(),
		env:     []string{"XDG_DATA_HOME=" + t.TempDir(), "SSL_CERT_FILE=" + ca.trust},
		args: append([]string{
			"server", "--listen", address, "--target", target, "--cacert", p.root, "--allow-cn", "alice",
			"--status", "http://" + reserve(t),
			"--auto-acme-cert", acmeName, "--auto-acme-email", "operator@sallyport.example", "--auto-acme-agree-to-tos",
			"--auto-acme-ca", ca.directory,
		}, args...),
	}
}

func (s *acmeServer) start(t *testing.T) *process {
	t.Helper()
	p := startUnready(t, s.env, s.args...)
	p.waitReady(t)
	return p
}

// connect shakes hands with the server as config says, on top of what a client
// without a certificate has. In TLS 1.3 the server's verdict comes later.
func (s *acmeServer) connect(t *testing.T, ca *pebble, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	config.RootCAs = ca.roots
	conn := tls.Client(dial(t, "tcp", s.address), config)
	return conn, conn.HandshakeContext(t.Context())
}

// asAlice is connect for a client that is let in.
func (s *acmeServer) asAlice(t *testing.T, ca *pebble) *tls.Conn {
	t.Helper()
	conn, err := s.connect(t, ca, &tls.Config{ServerName: acmeName, Certificates: []tls.Certificate{s.alice}})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serial is that of the certificate that a server has shown.
func serial(conn *tls.Conn) string {
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
}

func TestACMECertificateIsIssuedAndRenewedUnderATransfer(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	ca := startPebble(t, address, 36) // renewed after two thirds at the latest
	service := serve(t, "tcp", echo)
	s := newACMEServer(t, address, service.address, ca, "--auto-acme-renew-check-interval", "1s")
	p := s.start(t)

	transfer := s.asAlice(t, ca)
	connections := int64(1)
	renewed, transferred := make(chan struct{}), make(chan error, 1)
	go func() { transferred <- exchangeUntil(transfer, renewed) }()

	eventually(t, "the certificate is renewed", func() bool {
		conn := s.asAlice(t, ca)
		connections++
		if err := exchange(conn, 1, 10, 10); err != nil {
			t.Fatal(err)
		}
		return serial(conn) != serial(transfer)
	})
	close(renewed)
	if err := receive(t, "the end of the transfer", transferred); err != nil {
		t.Error(err)
	}

	if got := service.connections(); got != connections {
		t.Errorf("%d connections came to the target, want the %d of ours", got, connections)
	}
	if line := p.waitLine(t, "answered ACME challenge"); !strings.Contains(line, "alpn=acme-tls/1") {
		t.Errorf("how a challenge is logged: %s", line)
	}
	if lines := p.lines("error on TLS handshake"); len(lines) > 0 {
		t.Errorf("handshakes failed: %q", lines)
	}
	var got struct {
		LastReloadSuccess time.Time `json:"last_reload_success"`
		LastReloadError   string    `json:"last_reload_error"`
		Certificates      []struct {
			Role     string
			Serial   string
			NotAfter time.Time `json:"not_after"`
		}
	}
	p.status.getJSON(t, "/_status", &got)
	if got.LastReloadSuccess.IsZero() || got.LastReloadError != "" || len(got.Certificates) == 0 || got.Certificates[0].Role != "identity" || got.Certificates[0].NotAfter.Before(time.Now()) {
		t.Errorf("status: %+v", got)
	}
	p.stop(t)
}

// exchangeUntil sends noise to something that echoes, a little at a time, until
// enough is closed, and checks that all of it comes back.
func exchangeUntil(conn net.Conn, enough <-chan struct{}) error {
	sent, back := make([]byte, 16<<10), make([]byte, 16<<10)
	for from := noise(1); ; {
		select {
		case <-enough:
			return conn.Close()
		default:
		}
		if _, err := io.ReadFull(from, sent); err != nil {
			return err
		}
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, back); err != nil {
			return err
		}
		if string(back) != string(sent) {
			return errors.New("what came back is not what was sent")
		}
	}
}

func TestACMEChallengeLetsNobodyElseIn(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	ca := startPebble(t, address, 3600)
	service := serve(t, "tcp", echo)
	s := newACMEServer(t, address, service.address, ca)
	p := s.start(t)
	const protocol = "acme-tls/1"
	for _, test := range []struct {
		name, serverName string
		protocols        []string
		reason           string
	}{
		{name: "beside h2", serverName: acmeName, protocols: []string{protocol, "h2"}, reason: "no_certificate"},
		{name: "after h2", serverName: acmeName, protocols: []string{"h2", protocol}, reason: "no_certificate"},
		{name: "without a name", protocols: []string{protocol}, reason: "no_certificate"},
		{name: "for nothing that was asked", serverName: acmeName, protocols: []string{protocol}, reason: "no_challenge"},
		{name: "for another name", serverName: "other.example", protocols: []string{protocol}, reason: "no_challenge"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			before := len(p.lines("reason=" + test.reason))
			conn, err := s.connect(t, ca, &tls.Config{
				ServerName: test.serverName, NextProtos: test.protocols, MaxVersion: version, InsecureSkipVerify: true,
			})
			if err == nil {
				_, _ = io.WriteString(conn, "let me in") // what matters is that nothing comes back
				_, err = conn.Read(make([]byte, 1))
			}
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%s, %s: was let in: %v", test.name, tls.VersionName(version), err)
			}
			p.waitLines(t, before+1, "error on TLS handshake", "reason="+test.reason)
		}
	}
	// With a certificate, the protocol beside another is a wish like any.
	conn, err := s.connect(t, ca, &tls.Config{
		ServerName: acmeName, NextProtos: []string{protocol, "h2"}, Certificates: []tls.Certificate{s.alice},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, 1, 1000, 100); err != nil {
		t.Error(err)
	}
	if got := service.connections(); got != 1 {
		t.Errorf("%d connections came to the target, want that of alice", got)
	}
	p.stop(t)
}

func TestACMECertificateIsKeptForTheNextStart(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	ca := startPebble(t, address, 3600)
	s := newACMEServer(t, address, serve(t, "tcp", echo).address, ca)
	p := s.start(t)
	shown := func() string {
		t.Helper()
		conn := s.asAlice(t, ca)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		return serial(conn)
	}
	first := shown()
	p.stop(t)

	if err := ca.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ca.exit(t)
	p = s.start(t)
	if again := shown(); again != first {
		t.Errorf("shows certificate %s, want %s", again, first)
	}
	if lines := p.lines("asking an ACME CA"); len(lines) > 0 {
		t.Errorf("asks again: %q", lines)
	}
	p.stop(t)
}

func TestACMEFailuresAreToldAtStart(t *testing.T) {
	t.Parallel()
	elsewhere := reserve(t)
	ca := startPebble(t, elsewhere, 3600)
	for name, test := range map[string]struct {
		change func(*acmeServer)
		text   string
	}{
		"not found": {func(*acmeServer) {}, "Failed to connect"},
		"name blocked": {func(s *acmeServer) {
			s.args[slices.Index(s.args, acmeName)] = "www.blocked.example"
		}, "rejectedIdentifier"},
		"CA not trusted": {func(s *acmeServer) { s.env[1] = "SSL_CERT_FILE=" + s.pki.root }, "certificate signed by unknown authority"},
		"no CA":          {func(s *acmeServer) { s.args = append(s.args, "--auto-acme-testca", "https://"+elsewhere+"/dir") }, "connection refused"},
		"no storage":     {func(s *acmeServer) { s.env[0] = "XDG_DATA_HOME=/dev/null" }, "/dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newACMEServer(t, reserve(t), serve(t, "tcp", echo).address, ca)
			test.change(s)
			p := startUnready(t, s.env, s.args...)
			if code := p.exit(t); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			message := p.stderr.String()
			if !strings.Contains(message, "--auto-acme-cert ") || !strings.Contains(message, test.text) || strings.Count(message, "\n") != 1 {
				t.Errorf("standard error, which should be a line with %q:\n%s", test.text, message)
			}
		})
	}
}
