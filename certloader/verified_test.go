package certloader_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// wantEach has a client come twice, by full handshakes, so that it is remembered
// the second time at the latest.
func wantEach(t testing.TB, client, server *tls.Config, want string) {
	t.Helper()
	for range 2 {
		got := shake(t, client, server)
		if verdict := reason(got.serverError); verdict != want || (want == "none") != (got.err() == nil) {
			t.Errorf("got %s, want %s: server %v, client %v", verdict, want, got.serverError, got.clientError)
		}
	}
}

func TestKnownClientIsRefusedOnceItHasLostItsTrust(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		b := newBranch(t)
		identity := issue(t, b.root, devpki.Request{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(48 * time.Hour)})
		alice := issue(t, b.sub, devpki.Request{CommonName: "alice", NotAfter: time.Now().Add(48 * time.Hour)})
		bob := issue(t, b.sub, devpki.Request{CommonName: "bob", NotAfter: time.Now().Add(time.Hour)})
		lists := func(from, to time.Duration) [][]byte {
			return [][]byte{crlOf(t, b.root, between(from, to)), crlOf(t, b.sub, between(from, to))}
		}
		source := newRevocable(t, material(identity, b.root), lists(-time.Hour, 24*time.Hour)...)
		var denied error
		server := source.ServerConfig(certloader.ServerOptions{MaxVersion: version, Authorize: func(tls.ConnectionState) error { return denied }})
		client := func(id *devpki.Identity) *tls.Config {
			cert := id.TLSCertificate()
			return &tls.Config{
				RootCAs: b.root.Pool(), ServerName: "localhost",
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
			}
		}
		wantEach(t, client(alice), server, "none")
		wantEach(t, client(bob), server, "none")

		denied = errors.New("denied")
		if got := shake(t, client(alice), server); !errors.Is(got.serverError, denied) {
			t.Errorf("denied by now: %v", got.serverError)
		}
		denied = nil
		time.Sleep(2 * time.Hour)
		wantEach(t, client(bob), server, "expired")
		wantEach(t, client(alice), server, "none")
		time.Sleep(23 * time.Hour)
		wantEach(t, client(alice), server, "crl_expired")

		source.publish(t, lists(-time.Hour, 24*time.Hour)...)
		wantEach(t, client(alice), server, "none")
		source.publish(t, crlOf(t, b.root, nil), crlOf(t, b.sub, nil, alice.Leaf))
		wantEach(t, client(alice), server, "revoked")
		source.publish(t, lists(-time.Hour, 24*time.Hour)...)
		wantEach(t, client(alice), server, "none")

		other := newCA(t, devpki.Options{CommonName: "other CA"})
		source.files.Store(material(identity, other))
		source.publish(t, crlOf(t, other, nil))
		wantEach(t, client(alice), server, "unknown_ca")
	})
}

// A session keeps the certificates that its client has shown for as long as it lives.
func TestConnectionsOfOneClientShareItsCertificates(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		b := newBranch(t)
		identity := issue(t, b.root, devpki.Request{DNSNames: []string{"localhost"}})
		alice := issue(t, b.sub, devpki.Request{CommonName: "alice"})
		bob := issue(t, b.sub, devpki.Request{CommonName: "bob"})
		source, _ := newSource(t, material(identity, b.root))
		server := source.ServerConfig(certloader.ServerOptions{MaxVersion: version, NoResumption: true, Authorize: func(tls.ConnectionState) error { return nil }})
		shown := func(id *devpki.Identity) []*x509.Certificate {
			cert := id.TLSCertificate()
			got := shake(t, &tls.Config{RootCAs: b.root.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert}}, server)
			if got.err() != nil {
				t.Fatal(got.err())
			}
			for i, c := range got.server.PeerCertificates {
				if !bytes.Equal(c.Raw, cert.Certificate[i]) {
					t.Errorf("certificate %d is not the one that the client has shown", i)
				}
			}
			return got.server.PeerCertificates
		}
		first, again, other := shown(alice), shown(alice), shown(bob)
		if len(first) != 2 || !slices.Equal(first, again) {
			t.Errorf("the same client's: %p, then %p", first, again)
		}
		if first[0] == other[0] || first[1].Subject.CommonName != other[1].Subject.CommonName {
			t.Errorf("another client of the same issuer shows %v and %v", other[0].Subject, other[1].Subject)
		}
	})
}

// TestKnownServerMustHaveTheNameThatIsMeant: what is remembered is its chain.
func TestKnownServerMustHaveTheNameThatIsMeant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, devpki.Options{})
		identity, _ := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
		server := identity.ServerConfig(certloader.ServerOptions{})
		source, _ := newSource(t, material(nil, ca))
		for name, want := range map[string]string{"localhost": "none", "other.example": "name_mismatch"} {
			for range 2 {
				got := shake(t, source.ClientConfig(certloader.ClientOptions{ServerName: name}), server)
				if verdict := reason(got.clientError); verdict != want || (want == "none") != (got.err() == nil) {
					t.Errorf("%s: got %s, want %s: %v", name, verdict, want, got.err())
				}
			}
		}
	})
}
