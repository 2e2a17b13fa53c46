package certloader_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
	"sallyport/internal/spiffeagent"
)

// svid issues an X509-SVID.
func svid(t testing.TB, ca *devpki.CA, id string) tls.Certificate {
	t.Helper()
	return issue(t, ca, devpki.Request{URIs: []string{id}}).TLSCertificate()
}

// bundles is one CA for each trust domain: "example.org", ca, …
func bundles(pairs ...any) map[string][]*x509.Certificate {
	all := make(map[string][]*x509.Certificate)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = append(all[pairs[i].(string)], pairs[i+1].(*devpki.CA).Root())
	}
	return all
}

// spiffe returns a Source of what an agent says.
func spiffe(t testing.TB, answer spiffeagent.Answer) *certloader.Source {
	t.Helper()
	agent := spiffeagent.Start(t)
	agent.Say(answer)
	provider, _ := newWorkload(t, agent)
	return open(t, provider)
}

// mutual has two Sources shake hands, each verifying the other.
func mutual(t testing.TB, client, server *certloader.Source) outcome {
	t.Helper()
	return shake(t, client.ClientConfig(certloader.ClientOptions{ServerName: "host-names.play.no.part"}),
		server.ServerConfig(certloader.ServerOptions{Authorize: allow}))
}

func TestWorkloadsOfFederatedTrustDomainsTalk(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{}), newCA(t, devpki.Options{})
	server := spiffe(t, spiffeagent.Answer{
		SVIDs:   []tls.Certificate{svid(t, ca, "spiffe://example.org/server")},
		Bundles: bundles("example.org", ca, "other.org", other),
	})
	client := spiffe(t, spiffeagent.Answer{
		SVIDs:   []tls.Certificate{svid(t, other, "spiffe://other.org/client")},
		Bundles: bundles("example.org", ca, "other.org", other),
	})
	if err := mutual(t, client, server).err(); err != nil {
		t.Error(err)
	}

	stranger := spiffe(t, spiffeagent.Answer{
		SVIDs:   []tls.Certificate{svid(t, other, "spiffe://third.org/client")},
		Bundles: bundles("example.org", ca, "third.org", other),
	})
	err := mutual(t, stranger, server).serverError
	if reason(err) != "unknown_ca" || !strings.Contains(err.Error(), "spiffe://third.org/client") {
		t.Errorf("a peer whose trust domain has no bundle: %v", err)
	}
}

func TestWhoIsOfTheOwnTrustDomain(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{}), newCA(t, devpki.Options{})
	workload := func(answer spiffeagent.Answer) *certloader.Source {
		agent := spiffeagent.Start(t)
		agent.Say(answer)
		provider, err := certloader.WorkloadAPI(t.Context(), certloader.WorkloadAPIOptions{
			Address: agent.Address(), Timeout: 30 * time.Second, TrustOnly: len(answer.SVIDs) == 0,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = provider.Close() })
		return open(t, provider)
	}
	plain, _ := newSource(t, material(nil, ca))
	us := []tls.Certificate{svid(t, ca, "spiffe://example.org/us")}
	one, two := bundles("example.org", ca), bundles("example.org", ca, "other.org", other)
	near, far := svid(t, ca, "spiffe://example.org/peer"), svid(t, other, "spiffe://other.org/peer")
	for name, test := range map[string]struct {
		source           *certloader.Source
		known, near, far bool
	}{
		"trust without domains":           {plain, true, true, true},
		"an SVID":                         {workload(spiffeagent.Answer{SVIDs: us, Bundles: one}), true, true, false},
		"an SVID and federation":          {workload(spiffeagent.Answer{SVIDs: us, Bundles: two}), true, true, false},
		"trust in one domain alone":       {workload(spiffeagent.Answer{Bundles: one}), true, true, false},
		"trust alone, and federation":     {workload(spiffeagent.Answer{Bundles: two}), false, false, false},
		"trust alone, and that in no one": {workload(spiffeagent.Answer{}), false, false, false},
	} {
		in := func(cert tls.Certificate) bool {
			return test.source.InOwnDomain(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}})
		}
		if got := test.source.KnowsOwnDomain(); got != test.known {
			t.Errorf("%s: known = %t", name, got)
		}
		if in(near) != test.near || in(far) != test.far {
			t.Errorf("%s: example.org %t, other.org %t; want %t, %t", name, in(near), in(far), test.near, test.far)
		}
		if test.source != plain && test.source.InOwnDomain(tls.ConnectionState{}) {
			t.Errorf("%s: a peer without a certificate is of it", name)
		}
	}
}

func TestAWorkloadWithoutServerNameVerifiesByID(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	answer := spiffeagent.Answer{SVIDs: []tls.Certificate{svid(t, ca, "spiffe://example.org/db")}, Bundles: bundles("example.org", ca)}
	source := spiffe(t, answer)
	denied := errors.New("denied")
	for want, authorize := range map[error]func(tls.ConnectionState) error{
		nil: nil,
		denied: func(cs tls.ConnectionState) error {
			if len(cs.VerifiedChains) != 1 || cs.PeerCertificates[0].URIs[0].String() != "spiffe://example.org/db" {
				t.Errorf("Authorize got %v", cs.PeerCertificates[0].URIs)
			}
			return denied
		},
	} {
		got := shake(t, source.ClientConfig(certloader.ClientOptions{Authorize: authorize}), source.ServerConfig(certloader.ServerOptions{}))
		if !errors.Is(got.clientError, want) {
			t.Errorf("got %v, want %v", got.clientError, want)
		}
	}
}

// signed makes a certificate of whatever template says.
func signed(t testing.TB, ca *devpki.CA, template x509.Certificate, ids ...string) tls.Certificate {
	t.Helper()
	key := issue(t, ca, devpki.Request{CommonName: "key"}).Key
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.KeyUsage == 0 {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	for _, id := range ids {
		uri, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, ca.Certificate(), key.Public(), ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestPeersThatAreNoWorkloadOfATrustedDomainAreRefused(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{}), newCA(t, devpki.Options{})
	source := spiffe(t, spiffeagent.Answer{
		SVIDs:   []tls.Certificate{svid(t, ca, "spiffe://example.org/us")},
		Bundles: bundles("example.org", ca, "other.org", other),
	})
	const id = "spiffe://example.org/peer"
	plain := x509.Certificate{}
	expired := x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	for _, test := range []struct {
		name   string
		peer   tls.Certificate
		reason string
		text   string
	}{
		{"none, so that the others mean something", signed(t, ca, plain, id), "none", ""},
		{"no ID", signed(t, ca, x509.Certificate{DNSNames: []string{"localhost"}}), "bad_certificate", "no URI SAN"},
		{"two IDs", signed(t, ca, plain, id, id+"2"), "bad_certificate", "more than one URI SAN"},
		{"an ID and another URI", signed(t, ca, plain, id, "https://example.org/peer"), "bad_certificate", "more than one URI SAN"},
		{"another scheme", signed(t, ca, plain, "https://example.org/peer"), "bad_certificate", "not an X509-SVID"},
		{"a port in the trust domain", signed(t, ca, plain, "spiffe://example.org:8443/peer"), "bad_certificate", "not an X509-SVID"},
		{"the ID of a trust domain", signed(t, ca, plain, "spiffe://example.org"), "bad_certificate", "that of a trust domain"},
		{"a CA", signed(t, ca, x509.Certificate{IsCA: true, BasicConstraintsValid: true}, id), "bad_certificate", "that of a CA"},
		{"may sign certificates", signed(t, ca, x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}, id), "bad_certificate", "that of a CA"},
		{"may sign CRLs", signed(t, ca, x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign}, id), "bad_certificate", "that of a CA"},
		{"signed by the CA of another trusted domain", signed(t, other, plain, id), "unknown_ca", "not signed by a trusted CA"},
		{"of a domain without a bundle", signed(t, ca, plain, "spiffe://third.org/peer"), "unknown_ca", "no bundle of the trust domain of spiffe://third.org/peer"},
		{"expired", signed(t, ca, expired, id), "expired", "expired at"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			check := func(side string, err error) {
				if reason(err) != test.reason {
					t.Errorf("as %s: %v, reason %s, want %s", side, err, reason(err), test.reason)
				} else if err != nil && !strings.Contains(err.Error(), test.text) {
					t.Errorf("as %s: %v, want it to tell of %q", side, err, test.text)
				}
			}
			peer := &tls.Config{Certificates: []tls.Certificate{test.peer}, InsecureSkipVerify: true}
			check("client", shake(t, peer, source.ServerConfig(certloader.ServerOptions{Authorize: allow})).serverError)
			check("server", shake(t, source.ClientConfig(certloader.ClientOptions{}), peer).clientError)
		})
	}
}

func TestTrustThatTheAgentTakesBackEndsResumption(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{}), newCA(t, devpki.Options{})
	id := svid(t, ca, "spiffe://example.org/server")
	for name, next := range map[string]map[string][]*x509.Certificate{
		"the CA is gone":                         bundles("example.org", ca),
		"the CA speaks for another domain alone": bundles("example.org", ca, "other.org", ca, "third.org", other),
	} {
		for version, number := range versions {
			t.Run(name+", "+version, func(t *testing.T) {
				t.Parallel()
				agent := spiffeagent.Start(t)
				agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{id}, Bundles: bundles("example.org", ca, "other.org", other)})
				provider, _ := newWorkload(t, agent)
				source := open(t, provider)
				server := source.ServerConfig(certloader.ServerOptions{Authorize: allow, MaxVersion: number})
				client := &tls.Config{
					Certificates:       []tls.Certificate{svid(t, other, "spiffe://other.org/client")},
					InsecureSkipVerify: true,
					ServerName:         "server",
					ClientSessionCache: tls.NewLRUClientSessionCache(1),
				}
				shake(t, client, server)
				if got := shake(t, client, server); got.err() != nil || !got.server.DidResume {
					t.Fatalf("no resumption to begin with: %v", got.err())
				}
				agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{id}, Bundles: next})
				wantChanged(t, source)
				if err := source.Reload(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := shake(t, client, server).serverError; reason(err) != "unknown_ca" {
					t.Errorf("a peer that is trusted no more, with a ticket: %v", err)
				}
			})
		}
	}
}

func TestAChangeOfWhoSpeaksForADomainMakesTheNextHandshakeAFullOne(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{}), newCA(t, devpki.Options{})
	id := svid(t, ca, "spiffe://example.org/server")
	agent := spiffeagent.Start(t)
	agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{id}, Bundles: bundles("example.org", ca, "other.org", other, "third.org", other)})
	provider, _ := newWorkload(t, agent)
	source := open(t, provider)
	server := source.ServerConfig(certloader.ServerOptions{Authorize: allow})
	client := &tls.Config{
		Certificates:       []tls.Certificate{svid(t, other, "spiffe://other.org/client")},
		InsecureSkipVerify: true,
		ServerName:         "server",
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	shake(t, client, server)
	agent.Say(spiffeagent.Answer{SVIDs: []tls.Certificate{id}, Bundles: bundles("example.org", ca, "other.org", other, "third.org", ca)})
	wantChanged(t, source)
	if err := source.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := shake(t, client, server); got.err() != nil || got.server.DidResume {
		t.Errorf("resumed: %t, %v", got.server.DidResume, got.err())
	}
}
