package tests

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"regexp"
	"syscall"
	"testing"
)

var caPin = regexp.MustCompile(`ca_pin="?sha256:([A-Za-z0-9+/=]+)`)

// TestAutoTLSIsKnownByItsPin connects with nothing but the pin from the log.
func TestAutoTLSIsKnownByItsPin(t *testing.T) {
	t.Parallel()
	listen := reserve(t)
	p := newPKI(t)
	server := start(t, "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
		"--auto-tls", "--auto-tls-san", "db.example", "--cacert", p.root, "--allow-cn", "client", "--status", "http://"+reserve(t))
	found := caPin.FindStringSubmatch(server.waitLine(t, "ca_pin="))
	if found == nil {
		t.Fatal("no pin in the log")
	}
	pin, err := base64.StdEncoding.DecodeString(found[1])
	if err != nil {
		t.Fatal(err)
	}
	pinned := func(name string) func(tls.ConnectionState) error {
		return func(cs tls.ConnectionState) error {
			roots := x509.NewCertPool()
			for _, cert := range cs.PeerCertificates {
				if sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo); bytes.Equal(sum[:], pin) {
					roots.AddCert(cert)
				}
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
			return err
		}
	}
	connect := func(name string) error {
		conn := tls.Client(dial(t, "tcp", listen), &tls.Config{
			InsecureSkipVerify: true, VerifyConnection: pinned(name),
			Certificates: []tls.Certificate{p.client(t).TLSCertificate()},
		})
		return errors.Join(echoes(conn), conn.Close())
	}
	for _, name := range []string{"localhost", "127.0.0.1", "db.example"} {
		if err := connect(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A reload is no renewal, and brings no other CA.
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "msg=reloaded")
	if err := connect("localhost"); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	if err := connect("web.example"); err == nil {
		t.Error("the certificate is for a name that nobody asked for")
	}
	server.stop(t)
}
