package certloader_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestServerVerifiesClients(t *testing.T) {
	t.Parallel()
	root := newCA(t, devpki.Options{CommonName: "trusted CA"})
	stranger := newCA(t, devpki.Options{CommonName: "other CA"})
	impostor := newCA(t, devpki.Options{CommonName: "trusted CA"})
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	lapsed, err := root.Intermediate(devpki.Options{CommonName: "lapsed CA", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	future := time.Date(2120, 1, 2, 3, 4, 5, 0, time.UTC)
	client := devpki.Request{CommonName: "alice"}
	withoutChain := issue(t, sub, client)
	withoutChain.Chain = nil

	source, _ := newSource(t, material(issue(t, root, devpki.Request{DNSNames: []string{"localhost"}}), root))

	for _, test := range []struct {
		name   string
		client *devpki.Identity
		reason string   // empty: let in
		text   []string // parts of the server's error
	}{
		{name: "of the trusted CA", client: issue(t, root, client)},
		{name: "of an intermediate", client: issue(t, sub, client)},
		{name: "without a usage", client: issue(t, root, devpki.Request{CommonName: "alice", Usages: []x509.ExtKeyUsage{}})},
		{
			name: "of an intermediate that it does not send", client: withoutChain,
			reason: "unknown_ca", text: []string{`"CN=alice"`, `"CN=sub CA"`, "not signed by a trusted CA"},
		},
		{
			name: "of another CA", client: issue(t, stranger, client),
			reason: "unknown_ca", text: []string{`"CN=alice"`, `"CN=other CA"`},
		},
		{
			name: "of another CA by the same name", client: issue(t, impostor, client),
			reason: "unknown_ca", text: []string{`"CN=alice"`, `"CN=trusted CA"`},
		},
		{
			name: "expired", client: issue(t, root, devpki.Request{CommonName: "alice", NotBefore: past.Add(-time.Hour), NotAfter: past}),
			reason: "expired", text: []string{`"CN=alice"`, `"CN=trusted CA"`, "expired at 2020-01-02T03:04:05Z"},
		},
		{
			name: "not yet valid", client: issue(t, root, devpki.Request{CommonName: "alice", NotBefore: future, NotAfter: future.Add(time.Hour)}),
			reason: "not_yet_valid", text: []string{`"CN=alice"`, "not valid before 2120-01-02T03:04:05Z"},
		},
		{
			name: "of an expired intermediate", client: issue(t, lapsed, devpki.Request{CommonName: "alice", NotAfter: time.Now().Add(time.Hour)}),
			reason: "expired", text: []string{`"CN=lapsed CA"`},
		},
		{
			name: "for servers alone", client: issue(t, root, devpki.Request{CommonName: "alice", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}),
			reason: "bad_certificate", text: []string{`"CN=alice"`, "its extended key usage, or that of its CA, leaves out clientAuth"},
		},
		{
			name: "with a line break in its name", client: issue(t, stranger, devpki.Request{CommonName: "eve\nlevel=info"}),
			reason: "unknown_ca", text: []string{"eve"},
		},
		{name: "none", client: nil, reason: "none", text: []string{"client didn't provide a certificate"}},
	} {
		for version, number := range versions {
			t.Run(test.name+"/"+version, func(t *testing.T) {
				t.Parallel()
				var authorized [][]*x509.Certificate
				server := source.ServerConfig(certloader.ServerOptions{
					MaxVersion: number,
					Authorize: func(cs tls.ConnectionState) error {
						authorized = cs.VerifiedChains
						return nil
					},
				})
				config := &tls.Config{RootCAs: root.Pool(), ServerName: "localhost"}
				if test.client != nil {
					// Whatever the server's hints are, this is the certificate.
					cert := test.client.TLSCertificate()
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				got := shake(t, config, server)
				if test.reason == "" {
					if err := got.err(); err != nil {
						t.Fatal(err)
					}
					if got.server.Version != number {
						t.Errorf("version %s", tls.VersionName(got.server.Version))
					}
					if len(authorized) == 0 || !authorized[0][len(authorized[0])-1].Equal(root.Certificate()) {
						t.Errorf("Authorize got the chains %v, want one up to the root", authorized)
					}
					return
				}
				if got.serverError == nil || got.clientError == nil {
					t.Fatalf("let in: server %v, client %v", got.serverError, got.clientError)
				}
				if reason := reason(got.serverError); reason != test.reason {
					t.Errorf("reason %s, want %s: %v", reason, test.reason, got.serverError)
				}
				for _, part := range test.text {
					if !strings.Contains(got.serverError.Error(), part) {
						t.Errorf("error %q does not tell of %q", got.serverError, part)
					}
				}
				if strings.ContainsAny(got.serverError.Error(), "\r\n") {
					t.Errorf("error %q has more than one line", got.serverError)
				}
				if authorized != nil {
					t.Error("Authorize was asked about a client that was not verified")
				}
			})
		}
	}
}

func TestServerHeedsAuthorize(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	denied := errors.New("denied")
	source, _ := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
	server := source.ServerConfig(certloader.ServerOptions{Authorize: func(tls.ConnectionState) error { return denied }})
	client, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "alice"}), ca))

	got := shake(t, client.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}), server)
	if !errors.Is(got.serverError, denied) || got.clientError == nil {
		t.Errorf("server %v, client %v", got.serverError, got.clientError)
	}
}

func TestServerWithoutAuthorizeAsksForNoCertificate(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	source, _ := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
	client := &tls.Config{
		RootCAs:    ca.Pool(),
		ServerName: "localhost",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			t.Error("asked for a certificate")
			return new(tls.Certificate), nil
		},
	}
	if err := shake(t, client, source.ServerConfig(certloader.ServerOptions{})).err(); err != nil {
		t.Error(err)
	}
}

func TestServerHintsAtTheTrustOfTheMoment(t *testing.T) {
	t.Parallel()
	before, after := newCA(t, devpki.Options{CommonName: "before"}), newCA(t, devpki.Options{CommonName: "after"})
	id := issue(t, before, devpki.Request{DNSNames: []string{"localhost"}})
	source, files := newSource(t, material(id, before))
	server := source.ServerConfig(certloader.ServerOptions{Authorize: allow})
	var hints [][]byte
	client := &tls.Config{
		RootCAs:    before.Pool(),
		ServerName: "localhost",
		GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			hints = request.AcceptableCAs
			return new(tls.Certificate), nil
		},
	}
	for _, ca := range []*devpki.CA{before, after} {
		swap(t, source, files, material(id, ca))
		shake(t, client, server)
		if len(hints) != 1 || !slices.Equal(hints[0], ca.Certificate().RawSubject) {
			t.Errorf("hints %q, want the subject of %s", hints, ca.Certificate().Subject)
		}
	}
}

func TestServerShowsTheIdentityOfTheMoment(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	first := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	second := issue(t, sub, devpki.Request{DNSNames: []string{"localhost"}})
	source, files := newSource(t, material(first, ca))
	server := source.ServerConfig(certloader.ServerOptions{})
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}

	for _, id := range []*devpki.Identity{first, second} {
		swap(t, source, files, material(id, ca))
		got := shake(t, client, server)
		if err := got.err(); err != nil {
			t.Fatal(err)
		}
		if !got.client.PeerCertificates[0].Equal(id.Leaf) || len(got.client.PeerCertificates) != 1+len(id.Chain) {
			t.Errorf("the client saw %d certificates of serial %x", len(got.client.PeerCertificates), got.client.PeerCertificates[0].SerialNumber)
		}
	}
}

func TestServerWithoutIdentityRefuses(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	source, _ := newSource(t, material(nil, ca))
	got := shake(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}, source.ServerConfig(certloader.ServerOptions{}))
	if got.clientError == nil || got.serverError == nil || !strings.Contains(got.serverError.Error(), "no certificate to serve with") {
		t.Errorf("server %v, client %v", got.serverError, got.clientError)
	}
}

func TestProtocolVersionsAndSuites(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	ecdsa := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	rsa := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}, Key: devpki.RSA2048})
	aesOnly := []uint16{
		// In the order that the server is not to follow.
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	}
	cbc := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}

	for _, test := range []struct {
		name    string
		id      *devpki.Identity
		client  *tls.Config
		server  certloader.ServerOptions
		version uint16 // 0: refused
		suite   uint16 // 0: any
		proto   string
	}{
		{name: "1.3 by default", id: ecdsa, version: tls.VersionTLS13},
		{name: "1.2 at most", id: ecdsa, server: certloader.ServerOptions{MaxVersion: tls.VersionTLS12}, version: tls.VersionTLS12},
		{name: "1.2 for who has no later", id: ecdsa, client: &tls.Config{MaxVersion: tls.VersionTLS12}, version: tls.VersionTLS12},
		{name: "1.1 refused", id: ecdsa, client: &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}},
		{
			name: "AES-128 before AES-256, ECDSA", id: ecdsa,
			client:  &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: aesOnly},
			version: tls.VersionTLS12, suite: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		},
		{
			name: "AES-128 before AES-256, RSA", id: rsa,
			client:  &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: aesOnly},
			version: tls.VersionTLS12, suite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		},
		{name: "no CBC", id: ecdsa, client: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: cbc}},
		{name: "no RSA key exchange", id: rsa, client: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: cbc}},
		{
			name: "chosen suites", id: ecdsa,
			client:  &tls.Config{MaxVersion: tls.VersionTLS12},
			server:  certloader.ServerOptions{CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}},
			version: tls.VersionTLS12, suite: tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		{
			name: "ALPN", id: ecdsa,
			client:  &tls.Config{NextProtos: []string{"b", "a"}},
			server:  certloader.ServerOptions{NextProtos: []string{"a", "b"}},
			version: tls.VersionTLS13, proto: "a",
		},
		{
			name: "ALPN without a common protocol", id: ecdsa,
			client: &tls.Config{NextProtos: []string{"c"}},
			server: certloader.ServerOptions{NextProtos: []string{"a"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source, _ := newSource(t, material(test.id, ca))
			client := new(tls.Config)
			if test.client != nil {
				client = test.client.Clone()
			}
			client.RootCAs, client.ServerName = ca.Pool(), "localhost"
			got := shake(t, client, source.ServerConfig(test.server))
			if test.version == 0 {
				if got.serverError == nil || got.clientError == nil {
					t.Errorf("let in: server %v, client %v", got.serverError, got.clientError)
				}
				return
			}
			if err := got.err(); err != nil {
				t.Fatal(err)
			}
			state := got.client
			if state.Version != test.version || state.NegotiatedProtocol != test.proto {
				t.Errorf("%s, protocol %q", tls.VersionName(state.Version), state.NegotiatedProtocol)
			}
			if test.suite != 0 && state.CipherSuite != test.suite {
				t.Errorf("suite %s, want %s", tls.CipherSuiteName(state.CipherSuite), tls.CipherSuiteName(test.suite))
			}
		})
	}
}
