package certloader_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// mismatch is what pinned refuses with.
type mismatch struct{}

func (mismatch) Error() string  { return "not pinned" }
func (mismatch) Reason() string { return "pin_mismatch" }

// pinned lets in peers with the key of one of the identities. The chain must not
// have been verified: a key that is pinned needs none.
func pinned(t *testing.T, ids ...*devpki.Identity) func(tls.ConnectionState) error {
	t.Helper()
	return func(cs tls.ConnectionState) error {
		if len(cs.VerifiedChains) > 0 {
			t.Error("the chain has been verified")
		}
		for _, id := range ids {
			if bytes.Equal(cs.PeerCertificates[0].RawSubjectPublicKeyInfo, id.Leaf.RawSubjectPublicKeyInfo) {
				return nil
			}
		}
		return mismatch{}
	}
}

// unfit are identities that nobody would take who looks at more than the key.
func unfit(t *testing.T) map[string]*devpki.Identity {
	t.Helper()
	ca := newCA(t, devpki.Options{CommonName: "nobody's CA"})
	past := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	future := time.Date(2120, 1, 2, 3, 4, 5, 0, time.UTC)
	return map[string]*devpki.Identity{
		"of an unknown CA": issue(t, ca, devpki.Request{CommonName: "alice"}),
		"expired":          issue(t, ca, devpki.Request{CommonName: "alice", NotBefore: past.Add(-time.Hour), NotAfter: past}),
		"not yet valid":    issue(t, ca, devpki.Request{CommonName: "alice", NotBefore: future, NotAfter: future.Add(time.Hour)}),
		"for code signing": issue(t, ca, devpki.Request{CommonName: "alice", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}),
		"for another name": issue(t, ca, devpki.Request{DNSNames: []string{"elsewhere.example"}}),
	}
}

// show makes a client show id whatever the server's hints say.
func show(config *tls.Config, id *devpki.Identity) *tls.Config {
	cert := id.TLSCertificate()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return config
}

func TestPinnedClientsNeedNothingButTheirKey(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	server, _ := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
	trusted := issue(t, ca, devpki.Request{CommonName: "alice"})
	for version, number := range versions {
		client := func() *tls.Config {
			return &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MaxVersion: number}
		}
		for name, id := range unfit(t) {
			config := server.ServerConfig(certloader.ServerOptions{Pinned: pinned(t, trusted, id)})
			if got := shake(t, show(client(), id), config); got.err() != nil {
				t.Errorf("%s, %s: %v", name, version, got.err())
			}
			config = server.ServerConfig(certloader.ServerOptions{Pinned: pinned(t, id)})
			if got := shake(t, show(client(), trusted), config); reason(got.serverError) != "pin_mismatch" || got.clientError == nil {
				t.Errorf("not pinned, but of a trusted CA, %s: server %v, client %v", version, got.serverError, got.clientError)
			}
			if got := shake(t, client(), config); got.serverError == nil || got.clientError == nil {
				t.Errorf("without a certificate, %s: server %v, client %v", version, got.serverError, got.clientError)
			}
			thief := issue(t, ca, devpki.Request{CommonName: "thief"}).TLSCertificate()
			thief.Certificate = id.TLSCertificate().Certificate
			stolen := client()
			stolen.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &thief, nil }
			if got := shake(t, stolen, config); got.serverError == nil || got.clientError == nil {
				t.Errorf("with the pinned certificate but not its key, %s: server %v, client %v", version, got.serverError, got.clientError)
			}
		}
	}
}

func TestPinnedServersNeedNothingButTheirKey(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	trusted := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	client, _ := newSource(t, material(nil, ca))
	for version, number := range versions {
		serve := func(id *devpki.Identity) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{id.TLSCertificate()}, MaxVersion: number}
		}
		for name, id := range unfit(t) {
			for _, host := range []string{"localhost", ""} {
				config := client.ClientConfig(certloader.ClientOptions{ServerName: host, Pinned: pinned(t, trusted, id)})
				if got := shake(t, config, serve(id)); got.err() != nil {
					t.Errorf("%s, %s: %v", name, version, got.err())
				}
				config = client.ClientConfig(certloader.ClientOptions{ServerName: host, Pinned: pinned(t, id)})
				if got := shake(t, config, serve(trusted)); reason(got.clientError) != "pin_mismatch" {
					t.Errorf("not pinned, but of a trusted CA and the right name, %s: %v", version, got.clientError)
				}
			}
		}
	}
}

func TestPinnedClientsAreToldOfNoCA(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	id := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	source, _ := newSource(t, material(id, ca))
	for version, number := range versions {
		for name, test := range map[string]struct {
			opts certloader.ServerOptions
			want int
		}{
			"pinned":   {certloader.ServerOptions{Pinned: pinned(t, id)}, 0},
			"by chain": {certloader.ServerOptions{Authorize: allow}, 1},
		} {
			told := -1
			cert := id.TLSCertificate()
			config := &tls.Config{
				RootCAs: ca.Pool(), ServerName: "localhost", MaxVersion: number,
				GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
					told = len(info.AcceptableCAs)
					return &cert, nil
				},
			}
			if got := shake(t, config, source.ServerConfig(test.opts)); got.err() != nil {
				t.Errorf("%s, %s: %v", name, version, got.err())
			}
			if told != test.want {
				t.Errorf("%s, %s: told of %d CAs, want %d", name, version, told, test.want)
			}
		}
	}
}

func TestPinsAreAskedAboutResumedSessions(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	id := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	source, _ := newSource(t, material(id, ca))
	for version, number := range versions {
		for _, side := range []string{"server", "client"} {
			refused := false
			check := pinned(t, id)
			asked := func(cs tls.ConnectionState) error {
				if refused {
					return mismatch{}
				}
				return check(cs)
			}
			server, client := certloader.ServerOptions{MaxVersion: number}, certloader.ClientOptions{ServerName: "localhost"}
			if side == "server" {
				server.Pinned = asked
			} else {
				client.Pinned = asked
			}
			serverConfig, clientConfig := source.ServerConfig(server), source.ClientConfig(client)
			clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for _, resumed := range []bool{false, true} {
				got := shake(t, clientConfig, serverConfig)
				if got.err() != nil || got.server.DidResume != resumed {
					t.Fatalf("%s, %s: resumed = %t, %v, want %t", side, version, got.server.DidResume, got.err(), resumed)
				}
			}
			refused = true
			got := shake(t, clientConfig, serverConfig)
			if reason(errors.Join(got.serverError, got.clientError)) != "pin_mismatch" {
				t.Errorf("%s, %s: server %v, client %v", side, version, got.serverError, got.clientError)
			}
		}
	}
}

func TestPinnedPeersNeedTheConsentOfAuthorizeToo(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	id := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
	source, _ := newSource(t, material(id, ca))
	denied := errors.New("denied")
	deny := func(tls.ConnectionState) error { return denied }
	open := certloader.ServerOptions{Authorize: allow}
	anybody := certloader.ClientOptions{ServerName: "localhost"}

	got := shake(t, source.ClientConfig(anybody), source.ServerConfig(certloader.ServerOptions{Pinned: pinned(t, id), Authorize: deny}))
	if !errors.Is(got.serverError, denied) {
		t.Errorf("server: %v", got.serverError)
	}
	got = shake(t, source.ClientConfig(certloader.ClientOptions{Pinned: pinned(t, id), Authorize: deny}), source.ServerConfig(open))
	if !errors.Is(got.clientError, denied) {
		t.Errorf("client: %v", got.clientError)
	}
}
