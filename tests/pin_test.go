package tests

import (
	"bytes"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/devpki"
)

// unfit is an identity that nobody would take who looks at more than its key: of
// a CA that nobody knows, out of date, and for another host.
func unfit(t *testing.T, name string) files {
	t.Helper()
	return newPKI(t).issue(t, name, devpki.Request{
		CommonName: name,
		DNSNames:   []string{"elsewhere.test"},
		NotBefore:  time.Now().Add(-48 * time.Hour),
		NotAfter:   time.Now().Add(-24 * time.Hour),
	})
}

// opensslPin has OpenSSL make the SHA-256 pin of a certificate's key, as
// docs/access.md has it.
func opensslPin(t *testing.T, cert string) string {
	t.Helper()
	need(t, "openssl")
	digest, err := exec.CommandContext(t.Context(), "sh", "-c",
		`openssl x509 -in "$0" -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | openssl base64`, cert).Output()
	if err != nil {
		t.Fatal(err)
	}
	return "sha256:" + strings.TrimSpace(string(digest))
}

// longPin is the SHA-512 pin.
func longPin(f files) string {
	digest := sha512.Sum512(f.Leaf.RawSubjectPublicKeyInfo)
	return "SHA512:" + base64.StdEncoding.EncodeToString(digest[:])
}

func TestPinnedClientsAreLetInByTheirKeyAlone(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	pinned, second, good := unfit(t, "pinned"), unfit(t, "second"), p.issue(t, "alice", alice)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-spki-pin", opensslPin(t, pinned.cert), "--allow-spki-pin", longPin(second))
	const mismatches = `sallyport_authorization_denied_total{reason="pin_mismatch",tunnel="server"}`
	if n := metricOf(t, server, mismatches); n != 0 {
		t.Errorf("%s is %v at the start", mismatches, n)
	}
	stolen := good.TLSCertificate()
	stolen.Certificate = pinned.TLSCertificate().Certificate
	none := tls.Certificate{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, test := range []struct {
			name  string
			shows tls.Certificate
			let   bool
		}{
			{"the first pinned key", pinned.TLSCertificate(), true},
			{"the second pinned key", second.TLSCertificate(), true},
			{"a certificate of the CA with another key", good.TLSCertificate(), false},
			{"the pinned certificate without its key", stolen, false},
			{"nothing", none, false},
		} {
			config := p.clientConfig()
			config.MinVersion, config.MaxVersion = version, version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			told := -1
			config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				told = len(info.AcceptableCAs)
				return &test.shows, nil
			}
			for range 2 { // the second time by a session ticket, where there is one
				if err := attempt(t, listen, config); (err == nil) != test.let {
					t.Errorf("%s, %s: %v, want let in %t", test.name, tls.VersionName(version), err, test.let)
				}
			}
			if told != 0 {
				t.Errorf("%s, %s: the client was told of %d CAs", test.name, tls.VersionName(version), told)
			}
		}
	}
	if n := service.connections(); n != 8 {
		t.Errorf("the target has seen %d connections, want the 8 of the pinned keys", n)
	}
	lines := server.waitLines(t, 4, "error on TLS handshake", "reason=pin_mismatch", "identity=spiffe://test/team/alice")
	for _, line := range lines {
		if !strings.Contains(line, opensslPin(t, good.cert)) {
			t.Errorf("the pin of the key that was shown is not in %s", line)
		}
	}
	if n := metricOf(t, server, mismatches); n != 4 {
		t.Errorf("%s is %v, want 4", mismatches, n)
	}
	if n := metricOf(t, server, `sallyport_authorization_denied_total{reason="no_certificate",tunnel="server"}`); n != 4 {
		t.Errorf("%v clients without a certificate, want 4", n)
	}
	server.stop(t)
}

func TestPinnedTargetIsKnownByItsKeyAlone(t *testing.T) {
	t.Parallel()
	p, pinned := newPKI(t), unfit(t, "pinned")
	for name, shown := range map[string]files{"the pinned key": pinned, "another key, of the CA and for the host": p.server(t)} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+", "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				listen := reserve(t)
				var served atomic.Int32
				config := &tls.Config{Certificates: []tls.Certificate{shown.TLSCertificate()}, MaxVersion: version}
				service := serve(t, "tcp", overTLS(config, func(conn net.Conn) {
					served.Add(1)
					echo(conn)
				}))
				client := start(t, "client", "--listen", listen, "--target", service.address, "--cacert", p.root,
					"--disable-authentication", "--verify-spki-pin", opensslPin(t, pinned.cert), "--status", "http://"+reserve(t))
				err := through(t, listen)
				code, report := client.status.report(t)
				if shown.cert == pinned.cert {
					if err != nil || code != 200 {
						t.Errorf("%v; the status says %d %s", err, code, report.BackendError)
					}
				} else {
					if err == nil || served.Load() != 0 {
						t.Errorf("%v, and the target was given %d connections", err, served.Load())
					}
					if code != 503 || !strings.Contains(report.BackendError, "not pinned") {
						t.Errorf("the status says %d %q, want 503 and why", code, report.BackendError)
					}
					client.waitLine(t, "error on TLS handshake", "reason=pin_mismatch", "identity=server")
					if n := metricOf(t, client, `sallyport_authorization_denied_total{reason="pin_mismatch",tunnel="client"}`); n != 1 {
						t.Errorf("%v mismatches are counted, want 1", n)
					}
				}
				client.stop(t)
			})
		}
	}
}

func TestPinnedTargetNeedsNoName(t *testing.T) {
	t.Parallel()
	pinned, listen, path := unfit(t, "pinned"), reserve(t), t.TempDir()+"/target"
	config := &tls.Config{Certificates: []tls.Certificate{pinned.TLSCertificate()}}
	serveOn(t, "unix", path, overTLS(config, echo))
	client := start(t, "client", "--listen", listen, "--target", "unix:"+path,
		"--disable-authentication", "--verify-spki-pin", longPin(pinned), "--status", "http://"+reserve(t))
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	client.stop(t)
}

// TestAutoTLSPinIsForVerifySPKIPin puts a client with nothing but the logged pin
// before a server with nothing but --auto-tls.
func TestAutoTLSPinIsForVerifySPKIPin(t *testing.T) {
	t.Parallel()
	address := reserve(t)
	server := start(t, "server", "--listen", address, "--target", serve(t, "tcp", echo).address,
		"--auto-tls", "--disable-authentication", "--status", "http://"+reserve(t))
	line := server.waitLine(t, "ca_pin=")
	pins := regexp.MustCompile(`\b(ca_pin|pin)="?(sha256:[A-Za-z0-9+/=]+)`).FindAllStringSubmatch(line, -1)
	if len(pins) != 2 {
		t.Fatalf("no two pins in %s", line)
	}
	for _, pin := range pins {
		listen := reserve(t)
		client := start(t, "client", "--listen", listen, "--target", address,
			"--disable-authentication", "--verify-spki-pin", pin[2], "--status", "http://"+reserve(t))
		if err := through(t, listen); (err == nil) != (pin[1] == "pin") {
			t.Errorf("with %s: %v", pin[1], err)
		}
		client.stop(t)
	}
	server.stop(t)
}

// TestDeniedPeersAreNamedAndCounted has every way in which a CA's certificate is
// not enough end in a line with the name that was shown, and in a count.
func TestDeniedPeersAreNamedAndCounted(t *testing.T) {
	t.Parallel()
	p, stranger, listen := newPKI(t), newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-cn", "nobody")
	longName := strings.Repeat("x", 1000)
	for reason, shows := range map[string]files{
		"not_allowed": p.issue(t, "bob", devpki.Request{CommonName: "bob"}),
		"unknown_ca":  stranger.issue(t, "carol", devpki.Request{CommonName: "carol"}),
		"expired": p.issue(t, "dave", devpki.Request{
			CommonName: "dave", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
		}),
		"not_yet_valid": p.issue(t, "erin", devpki.Request{
			CommonName: "erin", NotBefore: time.Now().Add(24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		}),
	} {
		config, certificate := p.clientConfig(), shows.TLSCertificate()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		if attempt(t, listen, config) == nil {
			t.Errorf("%s: let in", reason)
		}
		server.waitLine(t, "error on TLS handshake", "reason="+reason, "identity="+shows.Leaf.Subject.CommonName+" ")
		if n := metricOf(t, server, `sallyport_authorization_denied_total{reason="`+reason+`",tunnel="server"}`); n != 1 {
			t.Errorf("%s is counted %v times", reason, n)
		}
	}
	// A stranger cannot write as much into the log as it likes.
	config, certificate := p.clientConfig(), stranger.issue(t, "long", devpki.Request{URIs: []string{"spiffe://" + longName}}).TLSCertificate()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	if attempt(t, listen, config) == nil {
		t.Error("let in by a long name")
	}
	if line := server.waitLine(t, "reason=unknown_ca", "identity=spiffe://x"); len(line) > 1500 || strings.Contains(line, longName) {
		t.Errorf("a line of %d bytes: %s", len(line), line)
	}
	if n := service.connections(); n != 0 {
		t.Errorf("the target has seen %d connections", n)
	}
	server.stop(t)
}

// TestHandshakeThatIsCutBeforeTheCertificateNamesNobody: what has not been shown
// is not made up.
func TestHandshakeThatIsCutBeforeTheCertificateNamesNobody(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all")
	conn := dial(t, "tcp", listen)
	cut := tls.Client(cutting{conn}, p.clientConfig(p.client(t)))
	if err := cut.Handshake(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the handshake ended with %v", err)
	}
	_ = conn.Close()
	line := server.waitLine(t, "error on TLS handshake")
	if strings.Contains(line, "identity=") {
		t.Error(line)
	}
	server.stop(t)
}

// cutting lets nothing but a ClientHello pass.
type cutting struct{ net.Conn }

func (c cutting) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, []byte{22, 3, 1}) {
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(p)
}
