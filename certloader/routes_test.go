package certloader_test

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/certloader"
	"sallyport/devpki"
)

// crossing is a server with four routes, and a client that all of its CAs know.
type crossing struct {
	ca     *devpki.CA
	server *tls.Config
	client *tls.Config
}

// newCrossing has a.test and twin.test let in alice, b.test bob, and open.test everybody, without
// a certificate; other names are refused. The sources of a.test and b.test load
// what provide makes of their identity.
func newCrossing(t *testing.T, version uint16, provide func(certloader.Provider) certloader.Provider) *crossing {
	t.Helper()
	ca := newCA(t, devpki.Options{})
	var names certloader.Names[*tls.Config]
	for name, allowed := range map[string]string{"a.test": "alice", "twin.test": "alice", "b.test": "bob", "open.test": ""} {
		m := material(issue(t, ca, devpki.Request{DNSNames: []string{name}}), ca)
		store := new(store)
		store.Store(m)
		source, err := certloader.New(t.Context(), provide(loader(store.load)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := source.Close(); err != nil {
				t.Error(err)
			}
		})
		options := certloader.ServerOptions{MaxVersion: version, Scope: name}
		if allowed != "" {
			options.Authorize = only(allowed)
		}
		names.Set(name, source.ServerConfig(options))
	}
	identity := issue(t, ca, devpki.Request{CommonName: "alice"}).TLSCertificate()
	return &crossing{
		ca: ca,
		server: certloader.RouteConfig(func(serverName string) *tls.Config {
			config, _ := names.Find(serverName)
			return config
		}, nil),
		client: &tls.Config{
			RootCAs: ca.Pool(), Certificates: []tls.Certificate{identity},
			ClientSessionCache: oneSession{new(sessionOfAll)}, MinVersion: tls.VersionTLS12,
		},
	}
}

// only lets in those of a common name.
func only(name string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.VerifiedChains) == 0 || cs.PeerCertificates[0].Subject.CommonName != name {
			return errElse
		}
		return nil
	}
}

var errElse = errors.New("somebody else")

// oneSession is a cache that offers every server the session of the last one, as an attacker would.
type oneSession struct{ *sessionOfAll }

type sessionOfAll struct{ latest *tls.ClientSessionState }

func (s oneSession) Get(string) (*tls.ClientSessionState, bool) { return s.latest, s.latest != nil }

func (s oneSession) Put(_ string, state *tls.ClientSessionState) {
	if state != nil {
		s.latest = state
	}
}

// ask shakes hands as a client that asks for a name, or for none if it is empty.
func (c *crossing) ask(t *testing.T, name string) outcome {
	t.Helper()
	client := c.client.Clone()
	client.ServerName = name
	// A client of crypto/tls offers no session of a server that has no certificate for the name; this one does.
	client.InsecureSkipVerify = true
	return shake(t, client, c.server)
}

func TestEachNameHasItsIdentityAndAccess(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		c := newCrossing(t, version, func(p certloader.Provider) certloader.Provider { return p })
		c.client.ClientSessionCache = nil
		for _, test := range []struct{ asked, shown, reason, alert string }{
			{asked: "a.test", shown: "a.test"},
			{asked: "A.Test", shown: "a.test"},
			{asked: "open.test", shown: "open.test"},
			{asked: "b.test", alert: "bad certificate"},
			{asked: "c.test", alert: "unrecognized name"},
			{asked: "", alert: "unrecognized name"},
			{asked: "x.a.test", alert: "unrecognized name"},
		} {
			got := c.ask(t, test.asked)
			if test.alert == "" {
				if err := got.err(); err != nil {
					t.Errorf("%q: %v", test.asked, err)
				} else if names := got.client.PeerCertificates[0].DNSNames; !slices.Equal(names, []string{test.shown}) {
					t.Errorf("%q is shown %q", test.asked, names)
				}
				continue
			}
			if got.clientError == nil || !strings.Contains(got.clientError.Error(), test.alert) {
				t.Errorf("%q: the client was told %v, want %s", test.asked, got.clientError, test.alert)
			}
			if refused := errors.Is(got.serverError, errElse); refused != (test.alert == "bad certificate") {
				t.Errorf("%q: %v", test.asked, got.serverError)
			}
		}
	})
}

// The session of one name is no way into another: not to who may not come in there, and not past its identity.
func TestNoSessionLeadsFromOneNameToAnother(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "ticket.keys")
	if err := os.WriteFile(key, []byte(hex.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, provide := range map[string]func(certloader.Provider) certloader.Provider{
		"keys of each": func(p certloader.Provider) certloader.Provider { return p },
		"shared keys":  func(p certloader.Provider) certloader.Provider { return certloader.WithTicketKeys(p, key) },
	} {
		t.Run(kind, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				c := newCrossing(t, version, provide)
				want := func(name string, resumed bool) {
					t.Helper()
					got := c.ask(t, name)
					if err := got.err(); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					if got.server.DidResume != resumed || got.client.DidResume != resumed {
						t.Fatalf("%s: resumed = %t (server), %t (client), want %t", name, got.server.DidResume, got.client.DidResume, resumed)
					}
					if names := got.client.PeerCertificates[0].DNSNames; !slices.Equal(names, []string{name}) {
						t.Fatalf("%s: is shown %q", name, names)
					}
				}
				want("a.test", false)
				want("a.test", true)
				want("twin.test", false) // which she may come to, but has not seen the certificate of
				want("a.test", false)
				if got := c.ask(t, "b.test"); got.clientError == nil || !errors.Is(got.serverError, errElse) || got.server.DidResume {
					t.Fatalf("alice comes to b.test with a session of a.test: server %v, client %v", got.serverError, got.clientError)
				}
				want("open.test", false) // where nobody is asked for a certificate, nor let in by one of another name
				want("open.test", true)
				want("a.test", false)
				if got := c.ask(t, "c.test"); got.clientError == nil || got.server.DidResume {
					t.Fatalf("a session leads to a name that is not served: server %v, client %v", got.serverError, got.clientError)
				}
				want("a.test", true)
			})
		})
	}
}

// Renewals must not depend on which routes there are: the name may be that of none, or of one that has another identity.
func TestChallengesAreAnsweredWhateverTheRoutes(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	answer := issue(t, ca, devpki.Request{CommonName: "answer", DNSNames: []string{"acme.test"}})
	acme, _ := newSource(t, answering(t, ca, answer))
	other, _ := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"acme.test"}}), ca))
	route := other.ServerConfig(certloader.ServerOptions{Authorize: allow, Scope: "other"})
	for name, found := range map[string]*tls.Config{"no route": nil, "another identity": route} {
		server := certloader.RouteConfig(func(string) *tls.Config { return found }, acme.ServerConfig(certloader.ServerOptions{Challenges: true}))
		validation := &tls.Config{ServerName: "acme.test", InsecureSkipVerify: true, NextProtos: []string{certloader.ChallengeProtocol}}
		got := shake(t, validation, server)
		if err := got.err(); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if shown := got.client.PeerCertificates[0].Subject.CommonName; shown != "answer" {
			t.Errorf("%s: was shown the certificate of %q", name, shown)
		}
		visit := &tls.Config{ServerName: "acme.test", InsecureSkipVerify: true}
		if got := shake(t, visit, server); got.serverError == nil {
			t.Errorf("%s: somebody without a certificate was let in", name)
		}
	}
}

func TestAConfigThatNoSourceHasMadeServesNobody(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	server := certloader.RouteConfig(func(string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{issue(t, ca, devpki.Request{DNSNames: []string{"a.test"}}).TLSCertificate()}}
	}, nil)
	got := shake(t, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"}, server)
	if got.clientError == nil || got.serverError == nil {
		t.Errorf("server %v, client %v", got.serverError, got.clientError)
	}
}
