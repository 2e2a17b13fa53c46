package certloader_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestClientVerifiesServers(t *testing.T) {
	t.Parallel()
	root := newCA(t, devpki.Options{CommonName: "trusted CA"})
	stranger := newCA(t, devpki.Options{CommonName: "other CA"})
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	names := devpki.Request{
		CommonName: "server",
		DNSNames:   []string{"server.example", "*.wild.example"},
		IPs:        []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")},
	}
	with := func(change func(*devpki.Request)) devpki.Request {
		req := names
		change(&req)
		return req
	}
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	future := time.Date(2120, 1, 2, 3, 4, 5, 0, time.UTC)

	for _, test := range []struct {
		name   string
		server *devpki.Identity
		host   string
		reason string // empty: trusted
		text   []string
	}{
		{name: "DNS name", server: issue(t, root, names), host: "server.example"},
		{name: "DNS name of other case", server: issue(t, root, names), host: "Server.Example"},
		{name: "DNS name with its final dot", server: issue(t, root, names), host: "server.example."},
		{name: "wildcard", server: issue(t, root, names), host: "a.wild.example"},
		{name: "IPv4 address", server: issue(t, root, names), host: "192.0.2.1"},
		{name: "IPv6 address", server: issue(t, root, names), host: "fe80::1"},
		{name: "IPv6 address with a zone", server: issue(t, root, names), host: "fe80::1%eth0"},
		{name: "intermediate", server: issue(t, sub, names), host: "server.example"},

		{name: "another name", server: issue(t, root, names), host: "db.example", reason: "name_mismatch", text: []string{"server.example", "db.example"}},
		{name: "wildcard two labels deep", server: issue(t, root, names), host: "a.b.wild.example", reason: "name_mismatch"},
		{name: "another address", server: issue(t, root, names), host: "192.0.2.2", reason: "name_mismatch", text: []string{"192.0.2.1", "192.0.2.2"}},
		{name: "common name alone", server: issue(t, root, devpki.Request{CommonName: "server.example"}), host: "server.example", reason: "name_mismatch", text: []string{"SAN"}},
		{name: "no name to verify", server: issue(t, root, names), host: "", reason: "none", text: []string{"no server name"}},
		{name: "another CA", server: issue(t, stranger, names), host: "server.example", reason: "unknown_ca", text: []string{`"CN=server"`, `"CN=other CA"`}},
		{
			name: "expired", host: "server.example",
			server: issue(t, root, with(func(r *devpki.Request) { r.NotBefore, r.NotAfter = past.Add(-time.Hour), past })),
			reason: "expired", text: []string{"2020-01-02T03:04:05Z"},
		},
		{
			name: "not yet valid", host: "server.example",
			server: issue(t, root, with(func(r *devpki.Request) { r.NotBefore, r.NotAfter = future, future.Add(time.Hour) })),
			reason: "not_yet_valid", text: []string{"2120-01-02T03:04:05Z"},
		},
		{
			name: "for clients alone", host: "server.example",
			server: issue(t, root, with(func(r *devpki.Request) { r.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })),
			reason: "bad_certificate", text: []string{"its extended key usage, or that of its CA, leaves out serverAuth"},
		},
	} {
		for version, number := range versions {
			t.Run(test.name+"/"+version, func(t *testing.T) {
				t.Parallel()
				source, _ := newSource(t, material(nil, root))
				authorized := false
				client := source.ClientConfig(certloader.ClientOptions{
					ServerName: test.host,
					MaxVersion: number,
					Authorize: func(cs tls.ConnectionState) error {
						authorized = len(cs.VerifiedChains) > 0
						return nil
					},
				})
				got := shake(t, client, &tls.Config{Certificates: []tls.Certificate{test.server.TLSCertificate()}})
				if test.reason == "" {
					if err := got.err(); err != nil {
						t.Fatal(err)
					}
					if !authorized {
						t.Error("Authorize did not get the verified chains")
					}
					return
				}
				if got.clientError == nil {
					t.Fatal("trusted")
				}
				if reason := reason(got.clientError); reason != test.reason {
					t.Errorf("reason %s, want %s: %v", reason, test.reason, got.clientError)
				}
				for _, part := range test.text {
					if !strings.Contains(got.clientError.Error(), part) {
						t.Errorf("error %q does not tell of %q", got.clientError, part)
					}
				}
				if authorized {
					t.Error("Authorize was asked about a server that was not verified")
				}
			})
		}
	}
}

func TestClientHeedsAuthorize(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	denied := errors.New("denied")
	source, _ := newSource(t, material(nil, ca))
	client := source.ClientConfig(certloader.ClientOptions{
		ServerName: "localhost",
		Authorize:  func(tls.ConnectionState) error { return denied },
	})
	server := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	got := shake(t, client, &tls.Config{Certificates: []tls.Certificate{server.TLSCertificate()}})
	if !errors.Is(got.clientError, denied) {
		t.Errorf("client %v", got.clientError)
	}
}

func TestClientShowsTheIdentityOfTheMoment(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	server := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}).TLSCertificate()
	first, second := issue(t, ca, devpki.Request{CommonName: "first"}), issue(t, ca, devpki.Request{CommonName: "second"})
	source, files := newSource(t, material(nil, ca))
	client := source.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})

	for _, id := range []*devpki.Identity{nil, first, second} {
		swap(t, source, files, material(id, ca))
		got := shake(t, client, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert})
		if err := got.err(); err != nil {
			t.Fatal(err)
		}
		shown := got.server.PeerCertificates
		if id == nil {
			if len(shown) != 0 {
				t.Errorf("showed %s without an identity", shown[0].Subject)
			}
		} else if len(shown) != 1 || !shown[0].Equal(id.Leaf) {
			t.Errorf("did not show %s", id.Leaf.Subject)
		}
	}
}

func TestSystemTrustKnowsNoTestCA(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	source, _ := newSource(t, material(nil, nil))
	server := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}).TLSCertificate()
	got := shake(t, source.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}), &tls.Config{Certificates: []tls.Certificate{server}})
	if reason(got.clientError) != "unknown_ca" {
		t.Errorf("client %v", got.clientError)
	}
}

// crypto/tls has a server show a certificate; should it ever not, it is refused.
func TestServerThatShowsNoCertificateIsRefused(t *testing.T) {
	t.Parallel()
	source, _ := newSource(t, material(nil, newCA(t, devpki.Options{})))
	config := source.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
	if err := config.VerifyConnection(tls.ConnectionState{}); reason(err) != "no_certificate" {
		t.Errorf("error = %v", err)
	}
}

// RFC 5280, 4.2: who does not know a critical extension cannot tell what the
// certificate is for.
func TestCertificatesWithUnknownCriticalExtensionsAreRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	source, _ := newSource(t, material(nil, ca))
	peer := signed(t, ca, x509.Certificate{
		DNSNames:        []string{"localhost"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}},
	})
	got := shake(t, source.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}), &tls.Config{Certificates: []tls.Certificate{peer}})
	if reason(got.clientError) != "bad_certificate" || !strings.Contains(got.clientError.Error(), "critical extension") {
		t.Errorf("client %v", got.clientError)
	}
}
