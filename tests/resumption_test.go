package tests

import (
	"crypto/tls"
	"io"
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
