package tests

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// TestNoTicketOutlivesItsTrust has a client resume its session until the CA
// that issued its certificate is taken from the server's trust.
func TestNoTicketOutlivesItsTrust(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			listen := reserve(t)
			service := serve(t, "tcp", echo)
			server := startServer(t, p, listen, service.address, "--allow-all", "--no-watch-files")
			identity := p.client(t).TLSCertificate()
			config := &tls.Config{
				RootCAs: p.Pool(), ServerName: "localhost", MaxVersion: version,
				// Even when the server's hints say that it will be refused.
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &identity, nil },
				ClientSessionCache:   tls.NewLRUClientSessionCache(1),
			}
			visit := func() (resumed bool, err error) {
				conn := tls.Client(dial(t, "tcp", listen), config)
				defer conn.Close()
				if err := echoes(conn); err != nil {
					return false, err
				}
				// The end tells of the ticket that comes with it in TLS 1.3.
				if err := conn.CloseWrite(); err != nil {
					return false, err
				}
				_, err = io.ReadAll(conn)
				return conn.ConnectionState().DidResume, err
			}
			for _, want := range []bool{false, true} {
				if resumed, err := visit(); err != nil || resumed != want {
					t.Fatalf("resumed %t, %v; want %t", resumed, err, want)
				}
			}
			// A reload that changes nothing about trust costs no full handshake.
			server.signal(t, syscall.SIGHUP)
			server.waitLine(t, "msg=reloaded")
			if resumed, err := visit(); err != nil || !resumed {
				t.Fatalf("after a reload of the same: resumed %t, %v", resumed, err)
			}

			other, err := devpki.NewCA(devpki.Options{CommonName: "other CA"})
			if err != nil {
				t.Fatal(err)
			}
			forwarded := service.connections()
			replaceFile(t, p.root, other.PEM())
			server.signal(t, syscall.SIGHUP)
			server.waitLines(t, 2, "msg=reloaded")
			if _, err := visit(); err == nil {
				t.Error("let in after its CA was dropped")
			}
			server.waitLine(t, "error on TLS handshake", "reason=unknown_ca")
			if n := service.connections(); n != forwarded {
				t.Error("the target was connected to")
			}
			server.stop(t)
		})
	}
}

// TestNoSessionOutlivesTheTrustInATarget is the same in client mode: the target
// that was trusted is refused after its CA was dropped.
func TestNoSessionOutlivesTheTrustInATarget(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]string{"TLS 1.2": "TLS1.2", "TLS 1.3": "TLS1.3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			serverAddress, listen := reserve(t), reserve(t)
			service := serve(t, "tcp", echo)
			startServer(t, p, serverAddress, service.address, "--allow-all", "--no-watch-files", "--max-tls-version", version)
			args := append([]string{
				"client", "--listen", listen, "--target", serverAddress, "--override-server-name", "localhost",
				"--cacert", p.root, "--no-watch-files", "--status", "http://" + reserve(t),
			}, p.client(t).flags()...)
			client := start(t, args...)
			for range 3 {
				conn := dial(t, "tcp", listen)
				if err := echoes(conn); err != nil {
					t.Fatal(err)
				}
				conn.Close()
			}
			other, err := devpki.NewCA(devpki.Options{CommonName: "other CA"})
			if err != nil {
				t.Fatal(err)
			}
			forwarded := service.connections()
			replaceFile(t, p.root, other.PEM())
			client.signal(t, syscall.SIGHUP)
			client.waitLine(t, "msg=reloaded")
			if err := echoes(dial(t, "tcp", listen)); err == nil {
				t.Error("forwarded to a target whose CA was dropped")
			}
			client.waitLine(t, "reason=unknown_ca")
			if n := service.connections(); n != forwarded {
				t.Error("the service was connected to")
			}
			client.stop(t)
		})
	}
}

// tlsConnections is how many TLS connections a process has counted, by whether
// they resumed a session.
func tlsConnections(t *testing.T, p *process) (full, resumed float64) {
	t.Helper()
	for name, value := range p.status.scrape(t) {
		switch {
		case !strings.HasPrefix(name, "sallyport_tls_connections_total{"):
		case strings.Contains(name, `resumed="true"`):
			resumed += value
		default:
			full += value
		}
	}
	return full, resumed
}

// TestTunnelResumes, and both its processes count right; --no-resumption in
// either keeps it from that.
func TestTunnelResumes(t *testing.T) {
	t.Parallel()
	const visits = 4
	for name, test := range map[string]struct {
		server, client []string
		resumed        float64
	}{
		"TLS 1.3":                    {resumed: visits - 1},
		"TLS 1.2":                    {server: []string{"--max-tls-version", "TLS1.2"}, resumed: visits - 1},
		"a server that does not":     {server: []string{"--no-resumption"}},
		"a client that does not":     {client: []string{"--no-resumption"}},
		"TLS 1.2, one that does not": {server: []string{"--max-tls-version", "TLS1.2", "--no-resumption"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, at, listen := newPKI(t), reserve(t), reserve(t)
			server := startServer(t, p, at, serve(t, "tcp", echo).address, append(test.server, "--allow-cn", "client")...)
			client := startClient(t, p, listen, at, append(test.client, "--override-server-name", "localhost")...)
			for range visits {
				if err := through(t, listen); err != nil {
					t.Fatal(err)
				}
			}
			for mode, p := range map[string]*process{"server": server, "client": client} {
				if full, resumed := tlsConnections(t, p); resumed != test.resumed || full+resumed != visits {
					t.Errorf("%s mode has counted %v full and %v resumed, want %v of %v resumed", mode, full, resumed, test.resumed, visits)
				}
			}
			client.stop(t)
			server.stop(t)
		})
	}
}

// TestReplicaTakesTheTicketsOfAnother has a client come to two processes with the
// same keys in turn, until one of them trusts others, or has other keys.
func TestReplicaTakesTheTicketsOfAnother(t *testing.T) {
	t.Parallel()
	for name, version := range bothVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			dir := t.TempDir()
			keys, trust := filepath.Join(dir, "keys"), filepath.Join(dir, "trust.pem")
			key := func(digit string) string { return strings.Repeat(digit, 64) + "\n" }
			writeFile(t, keys, []byte(key("1")))
			writeFile(t, trust, p.PEM())
			service := serve(t, "tcp", echo)
			atA, atB := reserve(t), reserve(t)
			args := func(listen, trust string) []string {
				return append([]string{
					"server", "--listen", listen, "--target", service.address, "--allow-cn", "client", "--session-ticket-keys", keys,
					"--cacert", trust, "--status", "http://" + reserve(t), "--no-watch-files",
				}, p.server(t).flags()...)
			}
			a, b := start(t, args(atA, p.root)...), start(t, args(atB, trust)...)
			identity := p.client(t).TLSCertificate()
			config := p.clientConfig()
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &identity, nil }
			config.MinVersion, config.MaxVersion = version, version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			want := func(listen string, want bool) {
				t.Helper()
				if resumed, err := visit(t, listen, config); err != nil || resumed != want {
					t.Fatalf("resumed %t, %v; want %t", resumed, err, want)
				}
			}
			reload := func(p *process, n int) {
				p.signal(t, syscall.SIGHUP)
				p.waitLines(t, n, "msg=reloaded")
			}
			want(atA, false)
			want(atB, true)
			want(atA, true)

			// Each goes over to the next key at its own time.
			writeFile(t, keys, []byte(key("1")+key("2")))
			reload(b, 1)
			want(atB, true)
			writeFile(t, keys, []byte(key("2")+key("1")))
			reload(a, 1)
			want(atA, true)
			want(atB, true)
			if full, resumed := tlsConnections(t, a); full != 1 || resumed != 2 {
				t.Errorf("the first has counted %v full and %v resumed, want 1 and 2", full, resumed)
			}

			forwarded := service.connections()
			other, err := devpki.NewCA(devpki.Options{CommonName: "other CA"})
			if err != nil {
				t.Fatal(err)
			}
			replaceFile(t, trust, other.PEM())
			reload(b, 2)
			if _, err := visit(t, atB, config); err == nil {
				t.Error("let in by the ticket of another after its CA was dropped")
			}
			b.waitLine(t, "error on TLS handshake", "reason=unknown_ca")
			if n := service.connections(); n != forwarded {
				t.Error("the target was connected to")
			}
			want(atA, version == tls.VersionTLS13) // where the client learns of the refusal too late to forget its ticket

			writeFile(t, keys, []byte("nothing of use\n"))
			a.signal(t, syscall.SIGHUP)
			a.waitLine(t, "--session-ticket-keys "+keys+": line 1: not a key")
			want(atA, true)
			a.stop(t)
			b.stop(t)
		})
	}
}

// TestTargetSeesTheNewIdentityAtOnce: no session of the old one is resumed.
func TestTargetSeesTheNewIdentityAtOnce(t *testing.T) {
	t.Parallel()
	for name, version := range bothVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			config := p.targetConfig(p.server(t))
			config.MinVersion, config.MaxVersion = version, version
			var mu sync.Mutex
			var seen []string
			config.VerifyConnection = func(cs tls.ConnectionState) error {
				mu.Lock()
				defer mu.Unlock()
				how := "full "
				if cs.DidResume {
					how = "resumed "
				}
				seen = append(seen, how+cs.PeerCertificates[0].Subject.CommonName)
				return nil
			}
			service := serve(t, "tcp", overTLS(config, func(conn net.Conn) { _ = roundTripBack(conn) }))
			identity := p.issue(t, "before", devpki.Request{CommonName: "before"})
			client := start(t, append([]string{
				"client", "--listen", listen, "--target", service.address, "--cacert", p.root,
				"--override-server-name", "localhost", "--no-watch-files",
			}, identity.flags()...)...)
			pass := func() {
				t.Helper()
				for range 2 {
					if err := through(t, listen); err != nil {
						t.Fatal(err)
					}
				}
			}
			pass()
			next := p.issue(t, "after", devpki.Request{CommonName: "after"})
			replaceFile(t, identity.cert, next.CertPEM())
			replaceFile(t, identity.key, next.KeyPEM())
			client.signal(t, syscall.SIGHUP)
			client.waitLine(t, "msg=reloaded")
			pass()
			mu.Lock()
			defer mu.Unlock()
			if want := []string{"full before", "resumed before", "full after", "resumed after"}; !slices.Equal(seen, want) {
				t.Errorf("the target has seen %q, want %q", seen, want)
			}
			client.stop(t)
		})
	}
}

// TestSessionsWithOpenSSLResume, a server whose tickets are of another making.
func TestSessionsWithOpenSSLResume(t *testing.T) {
	t.Parallel()
	const visits = 3
	for name, version := range map[string]string{"TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, at, listen := newPKI(t), reserve(t), reserve(t)
			identity := p.server(t)
			peer, _ := openssl(t, "s_server", version, "-accept", at, "-cert", identity.cert, "-key", identity.key, "-CAfile", p.root, "-Verify", "1", "-rev")
			peer.waitLine(t, "ACCEPT")
			client := startClient(t, p, listen, at, "--override-server-name", "localhost")
			for range visits {
				conn := dial(t, "tcp", listen)
				if _, err := io.WriteString(conn, "there\n"); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len("ereht\n"))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ereht\n" {
					t.Fatalf("got %q, %v", got, err)
				}
				conn.Close()
			}
			if full, resumed := tlsConnections(t, client); full != 1 || resumed != visits-1 {
				t.Errorf("%v full and %v resumed, want 1 and %d", full, resumed, visits-1)
			}
			client.stop(t)
		})
	}
}

// TestTargetThatFailsToResumeIsReached: Squid gives tickets, and fails when it is
// shown one by somebody who has a certificate.
func TestTargetThatFailsToResumeIsReached(t *testing.T) {
	t.Parallel()
	need(t, "squid")
	const visits = 4
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	id := p.server(t)
	squid := startSquid(t, fmt.Sprintf("https_port ADDRESS tls-cert=%s tls-key=%s clientca=%s\nhttp_access allow all", id.cert, id.key, p.root))
	client := startClient(t, p, listen, squid, "--override-server-name", "localhost")
	for range visits {
		conn := dial(t, "tcp", listen)
		if _, err := io.WriteString(conn, "CONNECT "+service.address+" HTTP/1.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(conn)
		answer, err := http.ReadResponse(lines, &http.Request{Method: http.MethodConnect})
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("squid answers %v, %v", answer, err)
		}
		if lines.Buffered() > 0 {
			t.Fatal("squid says more than it was asked")
		}
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	client.waitLines(t, visits, "closed pipe")
	if full, resumed := tlsConnections(t, client); full != visits || resumed != 0 {
		t.Errorf("%v full and %v resumed, want %d and none", full, resumed, visits)
	}
	client.stop(t)
}
