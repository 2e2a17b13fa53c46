package certloader_test

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// revocable is a Source whose lists are in a file that a test may change.
type revocable struct {
	*certloader.Source
	files *store
	path  string
}

// newRevocable starts with lists that are valid.
func newRevocable(t testing.TB, m *certloader.Material, lists ...[]byte) *revocable {
	t.Helper()
	r := &revocable{files: new(store), path: write(t, "crl.pem", crlPEM(lists...))}
	r.files.Store(m)
	source, err := certloader.New(t.Context(), certloader.WithCRLs(loader(r.files.load), r.path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	r.Source = source
	return r
}

// publish replaces the lists and reloads.
func (r *revocable) publish(t testing.TB, lists ...[]byte) {
	t.Helper()
	writeTo(t, r.path, crlPEM(lists...))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// branch is a root, an intermediate below it, and the CAs' good lists.
type branch struct {
	root, sub *devpki.CA
}

func newBranch(t testing.TB) branch {
	t.Helper()
	root := newCA(t, devpki.Options{CommonName: "root CA"})
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	return branch{root, sub}
}

func TestRevocationOfPeers(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	alice := issue(t, b.sub, devpki.Request{CommonName: "alice", DNSNames: []string{"localhost"}})
	bob := issue(t, b.sub, devpki.Request{CommonName: "bob"})
	impostor := newBranch(t)
	list := func(ca *devpki.CA, revoked ...*x509.Certificate) []byte { return crlOf(t, ca, nil, revoked...) }
	dated := func(ca *devpki.CA, from, to time.Duration, revoked ...*x509.Certificate) []byte {
		return crlOf(t, ca, between(from, to), revoked...)
	}
	goodRoot, goodSub := list(b.root), list(b.sub)
	const day = 24 * time.Hour

	for _, test := range []struct {
		name   string
		lists  [][]byte
		reason string // empty: let in
		text   []string
	}{
		{name: "nobody revoked", lists: [][]byte{goodRoot, goodSub}},
		{name: "another revoked", lists: [][]byte{goodRoot, list(b.sub, bob.Leaf)}},
		{name: "leaf revoked", lists: [][]byte{goodRoot, list(b.sub, bob.Leaf, alice.Leaf)}, reason: "revoked", text: []string{`"CN=alice"`, "revoked at", "keyCompromise"}},
		{name: "intermediate revoked", lists: [][]byte{list(b.root, b.sub.Certificate()), goodSub}, reason: "revoked", text: []string{`"CN=sub CA"`}},
		{name: "its serial number revoked by another CA", lists: [][]byte{list(b.root, alice.Leaf), goodSub}},
		{name: "root in its own list", lists: [][]byte{list(b.root, b.root.Certificate()), goodSub}},

		{name: "no list of the leaf's issuer", lists: [][]byte{goodRoot}, reason: "crl_missing", text: []string{`"CN=alice"`}},
		{name: "no list of the intermediate's issuer", lists: [][]byte{goodSub}, reason: "crl_missing", text: []string{`"CN=sub CA"`}},
		{name: "leaf revoked and the intermediate's list missing", lists: [][]byte{list(b.sub, alice.Leaf)}, reason: "revoked"},
		{name: "intermediate revoked and the leaf's list missing", lists: [][]byte{list(b.root, b.sub.Certificate())}, reason: "revoked"},
		{name: "list signed by another of that name", lists: [][]byte{goodRoot, list(impostor.sub)}, reason: "crl_invalid", text: []string{"crl.pem"}},
		{name: "list signed by another of that name beside the good one", lists: [][]byte{goodRoot, list(impostor.sub, alice.Leaf), goodSub}},

		{name: "expired", lists: [][]byte{goodRoot, dated(b.sub, -2*day, -day)}, reason: "crl_expired", text: []string{"crl.pem", "expired at"}},
		{name: "expired, beside that of another of that name", lists: [][]byte{goodRoot, dated(b.sub, -2*day, -day), list(impostor.sub)}, reason: "crl_expired"},
		{name: "expired, behind that of another of that name", lists: [][]byte{goodRoot, list(impostor.sub), dated(b.sub, -2*day, -day)}, reason: "crl_expired"},
		{name: "intermediate's list expired", lists: [][]byte{dated(b.root, -2*day, -day), goodSub}, reason: "crl_expired"},
		{name: "expired, and names the leaf", lists: [][]byte{goodRoot, dated(b.sub, -2*day, -day, alice.Leaf)}, reason: "revoked"},
		{name: "expired, beside a newer one", lists: [][]byte{goodRoot, dated(b.sub, -2*day, -day), goodSub}},
		{name: "not valid yet", lists: [][]byte{goodRoot, dated(b.sub, day, 2*day)}, reason: "crl_invalid", text: []string{"not valid before"}},

		{name: "list of leaves", lists: [][]byte{goodRoot, crlOf(t, b.sub, scoped(yes(1)))}},
		{name: "list of leaves names it", lists: [][]byte{goodRoot, crlOf(t, b.sub, scoped(yes(1)), alice.Leaf)}, reason: "revoked"},
		{name: "list of CAs alone", lists: [][]byte{goodRoot, crlOf(t, b.sub, scoped(yes(2)))}, reason: "crl_missing"},
		{name: "root's list of leaves alone", lists: [][]byte{crlOf(t, b.root, scoped(yes(1))), goodSub}, reason: "crl_missing"},
		{name: "list of a distribution point that is not the leaf's", lists: [][]byte{goodRoot, crlOf(t, b.sub, scopedTo("http://crl.example/1"))}, reason: "crl_missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			check := func(err error) {
				t.Helper()
				if test.reason == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantError(t, err, test.text...)
				if err != nil && reason(err) != test.reason {
					t.Errorf("reason %s, want %s: %v", reason(err), test.reason, err)
				}
			}
			plain, _ := newSource(t, material(alice, b.root))
			checking := newRevocable(t, material(alice, b.root), test.lists...)
			client := plain.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
			for _, version := range versions {
				server := checking.ServerConfig(certloader.ServerOptions{Authorize: allow, MaxVersion: version})
				check(shake(t, client, server).serverError)
			}
			server := plain.ServerConfig(certloader.ServerOptions{Authorize: allow})
			check(shake(t, checking.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}), server).clientError)
		})
	}
}

func TestDistributionPointsOfLists(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	const first, second = "http://crl.example/1", "http://crl.example/2"
	id := issue(t, ca, devpki.Request{CommonName: "alice"})
	template := *id.Leaf
	template.CRLDistributionPoints = []string{first}
	der, err := x509.CreateCertificate(nil, &template, ca.Certificate(), id.Leaf.PublicKey, ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	alice := material(id, ca)
	alice.Identity = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: id.Key, Leaf: leaf}
	client, _ := newSource(t, alice)
	server := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})

	for _, test := range []struct {
		name   string
		list   []byte
		reason string
	}{
		{"its own", crlOf(t, ca, scopedTo(first)), "none"},
		{"its own names it", crlOf(t, ca, scopedTo(first), leaf), "revoked"},
		{"another", crlOf(t, ca, scopedTo(second)), "crl_missing"},
		{"all", crlOf(t, ca, nil), "none"},
	} {
		source := newRevocable(t, material(server, ca), test.list)
		got := shake(t, client.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}),
			source.ServerConfig(certloader.ServerOptions{Authorize: allow}))
		if reason(got.serverError) != test.reason {
			t.Errorf("%s: %v, want reason %s", test.name, got.serverError, test.reason)
		}
	}
}

// To crypto/x509 a chain may end at any trusted certificate.
func TestTrustedIntermediatesCanBeRevoked(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	lower, err := b.sub.Intermediate(devpki.Options{CommonName: "lower CA"})
	if err != nil {
		t.Fatal(err)
	}
	alice, _ := newSource(t, material(issue(t, lower, devpki.Request{CommonName: "alice"}), b.root))
	client := alice.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
	trust := func(cas ...*x509.Certificate) *certloader.Material {
		m := material(issue(t, b.root, devpki.Request{DNSNames: []string{"localhost"}}), b.root)
		m.CAs, m.Roots = cas, x509.NewCertPool()
		for _, ca := range cas {
			m.Roots.AddCert(ca)
		}
		return m
	}
	all := []*x509.Certificate{lower.Certificate(), b.sub.Certificate(), b.root.Certificate()}
	revoked := [][]byte{crlOf(t, lower, nil), crlOf(t, b.sub, nil), crlOf(t, b.root, nil, b.sub.Certificate())}

	for _, test := range []struct {
		name   string
		trust  []*x509.Certificate
		lists  [][]byte
		reason string
	}{
		{"all trusted, nobody revoked", all, [][]byte{revoked[0], revoked[1], crlOf(t, b.root, nil)}, "none"},
		{"all trusted, one revoked", all, revoked, "revoked"},
		{"all trusted, a list missing", all, revoked[:2], "crl_missing"},
		{"an intermediate alone trusted", all[:1], revoked[:1], "none"},
	} {
		source := newRevocable(t, trust(test.trust...), test.lists...)
		server := source.ServerConfig(certloader.ServerOptions{Authorize: func(cs tls.ConnectionState) error {
			if len(cs.VerifiedChains) == 0 {
				t.Error("Authorize did not get the verified chains")
			}
			return nil
		}})
		if got := shake(t, client, server); reason(got.serverError) != test.reason {
			t.Errorf("%s: %v, want reason %s", test.name, got.serverError, test.reason)
		}
	}
}

func TestWithoutPathsThereIsNothingToAdd(t *testing.T) {
	t.Parallel()
	provider := &closing{}
	if certloader.WithCRLs(provider) != certloader.Provider(provider) {
		t.Error("WithCRLs wraps what it does not change")
	}
}

func TestNoTicketLetsARevokedPeerBackIn(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		ca := newCA(t, devpki.Options{})
		alice := issue(t, ca, devpki.Request{CommonName: "alice"})
		server := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
		good := crlOf(t, ca, nil)
		listener := newRevocable(t, material(server, ca), good)
		dialer := newRevocable(t, material(alice, ca), good)
		serverConfig := listener.ServerConfig(certloader.ServerOptions{Authorize: allow, MaxVersion: version})
		clientConfig := dialer.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
		clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		expect := func(resumed bool) {
			t.Helper()
			got := shake(t, clientConfig, serverConfig)
			if err := got.err(); err != nil {
				t.Fatal(err)
			}
			if got.server.DidResume != resumed {
				t.Fatalf("resumed = %t, want %t", got.server.DidResume, resumed)
			}
		}
		expect(false)
		expect(true)
		listener.publish(t, good)
		expect(true)

		listener.publish(t, crlOf(t, ca, nil, alice.Leaf))
		if got := shake(t, clientConfig, serverConfig); reason(got.serverError) != "revoked" || got.clientError == nil {
			t.Errorf("server %v, client %v", got.serverError, got.clientError)
		}
		// With a new certificate the old ticket is not in the way.
		swap(t, dialer.Source, dialer.files, material(issue(t, ca, devpki.Request{CommonName: "alice"}), ca))
		expect(false)
		expect(true)

		dialer.publish(t, crlOf(t, ca, nil, server.Leaf))
		if got := shake(t, clientConfig, serverConfig); reason(got.clientError) != "revoked" {
			t.Errorf("client %v", got.clientError)
		}
	})
}

func TestAListRunsOutWhileInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, devpki.Options{})
		list := crlOf(t, ca, between(-time.Hour, time.Hour))
		source := newRevocable(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca), list)
		client, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "alice"}), ca))
		try := func() error {
			return shake(t, client.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}),
				source.ServerConfig(certloader.ServerOptions{Authorize: allow})).serverError
		}
		time.Sleep(time.Hour - time.Second)
		if err := try(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if err := try(); reason(err) != "crl_expired" {
			t.Errorf("at nextUpdate: %v", err)
		}
		// That it has run out keeps nothing else from being renewed…
		renewed := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})
		swap(t, source.Source, source.files, material(renewed, ca))
		if source.Certificates()[0].Serial != renewed.Leaf.SerialNumber.Text(16) {
			t.Error("the identity was not renewed")
		}
		// … and the next one heals.
		source.publish(t, crlOf(t, ca, nil))
		if err := try(); err != nil {
			t.Error(err)
		}
	})
}

func TestReloadKeepsTheOldStateForListsThatAreNotGoodNow(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	source := newRevocable(t, material(nil, ca), crlOf(t, ca, nil))
	before, next := source.CRLs(), newCA(t, devpki.Options{CommonName: "next CA"})
	for want, list := range map[string][]byte{
		"crl_expired": crlOf(t, ca, between(-2*time.Hour, -time.Hour)),
		"crl_invalid": crlOf(t, ca, between(time.Hour, 2*time.Hour)),
	} {
		writeTo(t, source.path, list)
		m := material(nil, ca)
		m.CAs = append(slices.Clone(m.CAs), next.Certificate())
		source.files.Store(m)
		err := source.Reload(t.Context())
		wantError(t, err, "--crl "+source.path)
		if reason(err) != want {
			t.Errorf("reason %s, want %s", reason(err), want)
		}
		if after := source.CRLs(); !slices.Equal(after, before) {
			t.Errorf("lists are %v, were %v", after, before)
		}
		if len(source.Certificates()) != 1 {
			t.Error("the trust changed without the lists")
		}
	}
}

func TestReloadKeepsTheOldStateWhenACALosesItsList(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{CommonName: "test CA"}), newCA(t, devpki.Options{CommonName: "other CA"})
	namesake := newCA(t, devpki.Options{CommonName: "test CA"})
	source := newRevocable(t, material(nil, ca), crlOf(t, ca, nil))
	before := source.CRLs()
	for name, list := range map[string][]byte{
		"another CA's":          crlOf(t, other, nil),
		"another of its name's": crlOf(t, namesake, nil),
	} {
		writeTo(t, source.path, list)
		err := source.Reload(t.Context())
		wantError(t, err, `no --crl has the CRL of "CN=test CA" any more`)
		if after := source.CRLs(); !slices.Equal(after, before) {
			t.Errorf("%s: lists are %v, were %v", name, after, before)
		}
	}
	// It may go with its CA.
	source.files.Store(material(nil, other))
	source.publish(t, crlOf(t, other, nil))
	if got := source.CRLs(); len(got) != 1 || got[0].Issuer != "CN=other CA" {
		t.Errorf("lists are %v", got)
	}
}

func TestCRLsDescribesTheListsInUse(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{CommonName: "test CA"})
	other := newCA(t, devpki.Options{CommonName: "other CA"})
	leaf := issue(t, ca, devpki.Request{CommonName: "alice"}).Leaf
	second := crlOf(t, other, nil, leaf, leaf)
	source := newRevocable(t, material(nil, ca), crlOf(t, ca, nil, leaf), second)
	parsed, err := x509.ParseRevocationList(second)
	if err != nil {
		t.Fatal(err)
	}
	got := source.CRLs()
	if len(got) != 2 || got[0].Issuer != "CN=test CA" || got[0].Entries != 1 {
		t.Fatalf("got %v", got)
	}
	want := certloader.CRL{
		Path: source.path, Issuer: "CN=other CA",
		ThisUpdate: parsed.ThisUpdate, NextUpdate: parsed.NextUpdate, Entries: 1,
	}
	if got[1] != want {
		t.Errorf("got  %v\nwant %v", got[1], want)
	}
	plain, _ := newSource(t, material(nil, ca))
	if lists := plain.CRLs(); lists != nil {
		t.Errorf("lists without --crl: %v", lists)
	}
}

func TestRefusalsDoNotRepeatWhatPeersChose(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	alice, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "alice\nroot"}), ca))
	server := newRevocable(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca),
		crlOf(t, newCA(t, devpki.Options{CommonName: "other CA"}), nil))
	got := shake(t, alice.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}),
		server.ServerConfig(certloader.ServerOptions{Authorize: allow}))
	if reason(got.serverError) != "crl_missing" || strings.Contains(got.serverError.Error(), "\n") {
		t.Errorf("%v", got.serverError)
	}
}
