package certloader_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestServerAuthorizesByWhereAClientIs(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		source, files := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
		denied := errors.New("denied")
		var verdict error
		var begun, asked atomic.Int32
		server := source.ServerConfig(certloader.ServerOptions{
			MaxVersion: version,
			AuthorizeFrom: func(remote net.Addr) func(tls.ConnectionState) error {
				begun.Add(1)
				if remote == nil {
					t.Error("no address")
				}
				return func(cs tls.ConnectionState) error {
					asked.Add(1)
					if len(cs.VerifiedChains) == 0 {
						t.Error("asked without verified chains")
					}
					return verdict
				}
			},
		})
		mine, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "alice"}), ca))
		client := mine.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)

		for _, resumes := range []bool{false, true} {
			got := shake(t, client, server)
			if got.err() != nil || got.server.DidResume != resumes {
				t.Fatalf("resumed %t, want %t; %v", got.server.DidResume, resumes, got.err())
			}
		}
		verdict = denied
		if got := shake(t, client, server); !errors.Is(got.serverError, denied) || got.clientError == nil {
			t.Errorf("a resumed session that is denied: server %v, client %v", got.serverError, got.clientError)
		}
		if begun.Load() != 3 || asked.Load() != 3 {
			t.Errorf("%d handshakes begun, %d decided, want 3", begun.Load(), asked.Load())
		}

		verdict = nil
		stranger := newCA(t, devpki.Options{})
		swap(t, source, files, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), stranger))
		if got := shake(t, client, server); reason(got.serverError) != "unknown_ca" || asked.Load() != 3 {
			t.Errorf("a client of another CA: %v; asked %d times", got.serverError, asked.Load())
		}
	})
}

func TestServerThatAuthorizesByAddressAsksForACertificate(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	source, _ := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
	server := source.ServerConfig(certloader.ServerOptions{
		AuthorizeFrom: func(net.Addr) func(tls.ConnectionState) error {
			return func(tls.ConnectionState) error { return nil }
		},
	})
	if got := shake(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}, server); got.serverError == nil {
		t.Error("let in without a certificate")
	}
}

func TestServerRefusesWhereNobodyDecides(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	server := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	source, _ := newSource(t, material(server, ca))
	config := source.ServerConfig(certloader.ServerOptions{
		AuthorizeFrom: func(net.Addr) func(tls.ConnectionState) error { return nil },
	})
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{server.TLSCertificate()}}
	if got := shake(t, client, config); got.serverError == nil {
		t.Error("let in although nobody decided")
	}
}
