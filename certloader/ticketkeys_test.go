package certloader_test

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// Three keys as they are in files.
var (
	firstKey  = strings.Repeat("1", 64) + "\n"
	secondKey = strings.Repeat("2", 64) + "\n"
	thirdKey  = strings.Repeat("3", 64) + "\n"
)

// replica is one of several servers behind one name.
type replica struct {
	*certloader.Source
	files  *store
	config *tls.Config
}

func newReplica(t testing.TB, m *certloader.Material, keys string, opts certloader.ServerOptions) *replica {
	t.Helper()
	r := &replica{files: new(store)}
	r.files.Store(m)
	source, err := certloader.New(t.Context(), certloader.WithTicketKeys(loader(r.files.load), keys))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	r.Source, r.config = source, source.ServerConfig(opts)
	return r
}

// wantVisit has a client come to a server, and says how it must go.
func wantVisit(t testing.TB, client, server *tls.Config, resumed bool) {
	t.Helper()
	got := shake(t, client, server)
	if err := got.err(); err != nil {
		t.Fatal(err)
	}
	if got.server.DidResume != resumed || got.client.DidResume != resumed {
		t.Fatalf("resumed = %t (server), %t (client), want %t", got.server.DidResume, got.client.DidResume, resumed)
	}
}

// returning is a client of a CA that keeps the ticket of its last visit.
func returning(t testing.TB, ca *devpki.CA) *tls.Config {
	t.Helper()
	cert := issue(t, ca, devpki.Request{CommonName: "alice", NotAfter: time.Now().Add(48 * time.Hour)}).TLSCertificate()
	return &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientSessionCache:   tls.NewLRUClientSessionCache(1),
	}
}

func TestReplicasThatShareKeysResumeEachOthersSessions(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		identity := func() *devpki.Identity {
			return issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(48 * time.Hour)})
		}
		keys := write(t, "keys", []byte(firstKey+secondKey))
		opts := certloader.ServerOptions{MaxVersion: version, Authorize: allow}
		a := newReplica(t, material(identity(), ca), keys, opts)
		b := newReplica(t, material(identity(), ca), keys, opts)
		if n := b.TicketKeys(); n != 2 {
			t.Errorf("%d keys", n)
		}
		client := returning(t, ca)
		wantVisit(t, client, a.config, false)
		wantVisit(t, client, b.config, true)
		wantVisit(t, client, a.config, true)

		// Nothing but the keys is needed for that: not the process that began it.
		wantVisit(t, client, newReplica(t, material(identity(), ca), keys, opts).config, true)
		// One who has other keys begins anew.
		wantVisit(t, client, newReplica(t, material(identity(), ca), write(t, "others", []byte(thirdKey)), opts).config, false)
		wantVisit(t, client, a.config, false)

		b.files.Store(material(identity(), newCA(t, devpki.Options{CommonName: "other CA"})))
		if err := b.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := shake(t, client, b.config); got.clientError == nil || reason(got.serverError) != "unknown_ca" {
				t.Errorf("by a replica that trusts others: server %v, client %v", got.serverError, got.clientError)
			}
		}
	})
}

// TestSharedTicketIsJudgedByWhoeverTakesIt: the same trust is not the same access.
func TestSharedTicketIsJudgedByWhoeverTakesIt(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		identity := material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca)
		keys := write(t, "keys", []byte(firstKey))
		lenient := newReplica(t, identity, keys, certloader.ServerOptions{MaxVersion: version, Authorize: allow})
		anybody := newReplica(t, identity, keys, certloader.ServerOptions{MaxVersion: version})
		asked := 0
		strict := newReplica(t, identity, keys, certloader.ServerOptions{MaxVersion: version, Authorize: func(cs tls.ConnectionState) error {
			asked++
			if len(cs.VerifiedChains) == 0 {
				t.Error("asked without verified chains")
			}
			return &certloader.VerifyError{}
		}})
		client := returning(t, ca)
		wantVisit(t, client, lenient.config, false)
		if got := shake(t, client, strict.config); got.serverError == nil || asked != 1 {
			t.Errorf("let in by another's ticket; asked %d times", asked)
		}
		// A ticket of those who ask for no certificate lets nobody in elsewhere.
		client = returning(t, ca)
		client.GetClientCertificate = nil
		wantVisit(t, client, anybody.config, false)
		wantVisit(t, client, anybody.config, true)
		if got := shake(t, client, lenient.config); got.serverError == nil {
			t.Error("let in without a certificate")
		}
	})
}

func TestTicketKeysAreReplacedOneByOne(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		identity := material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca)
		keys := write(t, "keys", []byte(firstKey))
		r := newReplica(t, identity, keys, certloader.ServerOptions{MaxVersion: version, Authorize: allow})
		client := returning(t, ca)
		reload := func(text string) error {
			writeTo(t, keys, []byte(text))
			return r.Reload(t.Context())
		}
		wantVisit(t, client, r.config, false)
		for _, text := range []string{firstKey + secondKey, secondKey + firstKey, secondKey} {
			if err := reload(text); err != nil {
				t.Fatal(err)
			}
			wantVisit(t, client, r.config, true) // and is given a ticket by the first key
		}
		if err := reload("secret\n"); err == nil || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "--session-ticket-keys "+keys+": line 1: not a key") {
			t.Errorf("a file without keys: %v", err)
		}
		wantVisit(t, client, r.config, true)
		if err := reload(thirdKey); err != nil {
			t.Fatal(err)
		}
		wantVisit(t, client, r.config, false)
	})
}

func TestWithoutAFileThereAreNoTicketKeys(t *testing.T) {
	t.Parallel()
	provider := loader(new(store).load)
	if _, same := certloader.WithTicketKeys(provider, "").(loader); !same {
		t.Error("the provider is another")
	}
	if _, err := certloader.WithTicketKeys(loader(func(context.Context) (*certloader.Material, error) {
		return new(certloader.Material), nil
	}), "/does/not/exist").Load(t.Context()); err == nil ||
		err.Error() != "--session-ticket-keys /does/not/exist: no such file or directory" {
		t.Errorf("without the file: %v", err)
	}
}

func TestWithoutResumptionEveryHandshakeIsFull(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		identity := material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca)
		keys := write(t, "keys", []byte(firstKey))
		for name, authorize := range map[string]func(tls.ConnectionState) error{"with certificates": allow, "without": nil} {
			for _, keys := range []string{"", keys} {
				opts := certloader.ServerOptions{MaxVersion: version, Authorize: authorize}
				with := newReplica(t, identity, keys, opts)
				opts.NoResumption = true
				without := newReplica(t, identity, keys, opts)
				client := returning(t, ca)
				wantVisit(t, client, without.config, false)
				if _, ok := client.ClientSessionCache.Get("localhost"); ok {
					t.Errorf("%s: a ticket was issued", name)
				}
				wantVisit(t, client, with.config, false)
				wantVisit(t, client, without.config, false)
			}
		}
	})
}
