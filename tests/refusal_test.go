package tests

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"sallyport/devpki"
)

// TestServerRefusesBeforeTheTargetHearsOfIt connects with certificates that do
// not let in. Each refusal is logged with a reason of its own and counted, and
// afterwards the right certificate does let in.
func TestServerRefusesBeforeTheTargetHearsOfIt(t *testing.T) {
	t.Parallel()
	service := serve(t, "tcp", echo)
	p, stranger := newPKI(t), newPKI(t)
	listen := reserve(t)
	server := startServer(t, p, listen, service.address, "--allow-cn", "client")

	refused := []struct {
		reason string
		certs  []tls.Certificate
	}{
		{"no_certificate", nil},
		{"unknown_ca", []tls.Certificate{stranger.client(t).TLSCertificate()}},
		{"expired", []tls.Certificate{p.issue(t, "expired", devpki.Request{
			CommonName: "client",
			NotBefore:  time.Now().Add(-48 * time.Hour),
			NotAfter:   time.Now().Add(-24 * time.Hour),
		}).TLSCertificate()}},
		{"not_allowed", []tls.Certificate{p.issue(t, "other", devpki.Request{CommonName: "other"}).TLSCertificate()}},
	}
	connect := func(certs []tls.Certificate, version uint16) (*tls.Conn, error) {
		conn := tls.Client(dial(t, "tcp", listen), &tls.Config{
			ServerName: "localhost",
			RootCAs:    p.Pool(),
			MinVersion: version,
			MaxVersion: version,
			// A client of crypto/tls holds back what the server's hints exclude.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(certs) == 0 {
					return new(tls.Certificate), nil
				}
				return &certs[0], nil
			},
		})
		if err := conn.HandshakeContext(t.Context()); err != nil {
			return nil, err
		}
		return conn, nil
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, test := range refused {
			conn, err := connect(test.certs, version)
			if err == nil { // in TLS 1.3 the refusal comes behind the handshake
				_, err = conn.Read(make([]byte, 1))
			}
			if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
				t.Errorf("%s, %s: %v, want an alert", test.reason, tls.VersionName(version), err)
			}
		}
	}
	for _, test := range refused {
		server.waitLines(t, 2, "error on TLS handshake", "reason="+test.reason)
	}
	if n := service.connections(); n != 0 {
		t.Errorf("the target has seen %d connections", n)
	}

	conn, err := connect([]tls.Certificate{p.client(t).TLSCertificate()}, tls.VersionTLS13)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, 1, 1000, 1000); err != nil {
		t.Error(err)
	}
	var metrics []struct {
		Metric string
		Value  float64
	}
	server.status.getJSON(t, "/_metrics", &metrics)
	want := map[string]float64{"ghostunnel.accept.error": 8, "ghostunnel.accept.success": 1, "ghostunnel.accept.total": 9}
	for _, m := range metrics {
		if value, ok := want[m.Metric]; ok && value == m.Value {
			delete(want, m.Metric)
		}
	}
	if len(want) > 0 {
		t.Errorf("metrics %v, want among them %v", metrics, want)
	}
	server.stop(t)
}
