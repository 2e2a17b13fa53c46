package certloader_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestRevokedFindsOpenConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBranch(t)
		alice := issue(t, b.sub, devpki.Request{CommonName: "alice", NotAfter: time.Now().Add(time.Hour)})
		open := tls.ConnectionState{PeerCertificates: append([]*x509.Certificate{alice.Leaf}, alice.Chain...)}
		goodRoot, goodSub := crlOf(t, b.root, nil), crlOf(t, b.sub, nil)
		revokes := crlOf(t, b.sub, nil, alice.Leaf)
		revoked := func(m *certloader.Material, cs tls.ConnectionState, lists ...[]byte) string {
			t.Helper()
			return reason(newRevocable(t, m, lists...).Revoked(cs))
		}
		trust := material(nil, b.root)
		for name, test := range map[string]struct{ got, want string }{
			"nobody revoked":       {revoked(trust, open, goodRoot, goodSub), "none"},
			"leaf revoked":         {revoked(trust, open, goodRoot, revokes), "revoked"},
			"intermediate revoked": {revoked(trust, open, crlOf(t, b.root, nil, b.sub.Certificate()), goodSub), "revoked"},
			"list missing":         {revoked(trust, open, goodRoot), "none"},
			"no certificate":       {revoked(trust, tls.ConnectionState{}, goodRoot, revokes), "none"},
			"trust gone":           {revoked(material(nil, newCA(t, devpki.Options{})), open, goodRoot, revokes), "revoked"},
		} {
			if test.got != test.want {
				t.Errorf("%s: %s, want %s", name, test.got, test.want)
			}
		}
		plain, _ := newSource(t, trust)
		if err := plain.Revoked(open); err != nil {
			t.Errorf("without lists: %v", err)
		}
		time.Sleep(2 * time.Hour) // it outlives its certificate, and is revoked nonetheless
		if got := revoked(trust, open, goodRoot, revokes); got != "revoked" {
			t.Errorf("after the certificate's end: %s", got)
		}
		time.Sleep(48 * time.Hour)
		if got := revoked(trust, open, goodRoot, goodSub); got != "none" {
			t.Errorf("with a list that has expired: %s", got)
		}
	})
}

// selfMade makes a certificate that says whatever template does and is signed by
// issuer's key; with no issuer, by its own.
func selfMade(t testing.TB, template x509.Certificate, key *devpki.Identity, issuer *devpki.CA) *x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(7)
	}
	parent, signer := &template, key.Key
	if issuer != nil {
		parent, signer = issuer.Certificate(), issuer.Key()
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Whatever a peer sent beside its chain, a revoked one is found.
func TestNothingSentAlongHidesARevocation(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	alice := issue(t, b.sub, devpki.Request{CommonName: "alice"})
	key := issue(t, b.sub, devpki.Request{CommonName: "key"})
	dated := func(from time.Time) *x509.Certificate {
		return selfMade(t, x509.Certificate{Subject: pkix.Name{CommonName: "junk"}, NotBefore: from, NotAfter: from.Add(time.Hour)}, key, nil)
	}
	// One in the name of the issuer, but with a key of the peer's.
	namesake := selfMade(t, x509.Certificate{
		Subject: b.sub.Certificate().Subject, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, key, nil)
	far := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	sub := b.sub.Certificate()

	for name, sent := range map[string][]*x509.Certificate{
		"nothing":                    {sub},
		"one that is not valid yet":  {sub, dated(far)},
		"one that has expired":       {sub, dated(far.AddDate(-98, 0, 0))},
		"a namesake of its issuer":   {namesake, sub},
		"its own certificate again":  {alice.Leaf, sub},
		"the root, which is trusted": {sub, b.root.Certificate()},
	} {
		for what, lists := range map[string][][]byte{
			"leaf":         {crlOf(t, b.root, nil), crlOf(t, b.sub, nil, alice.Leaf)},
			"intermediate": {crlOf(t, b.root, nil, sub), crlOf(t, b.sub, nil)},
		} {
			state := tls.ConnectionState{PeerCertificates: append([]*x509.Certificate{alice.Leaf}, sent...)}
			source := newRevocable(t, material(nil, b.root), lists...)
			if err := source.Revoked(state); reason(err) != "revoked" {
				t.Errorf("%s sent along, %s revoked: %v", name, what, err)
			}
			healthy := newRevocable(t, material(nil, b.root), crlOf(t, b.root, nil), crlOf(t, b.sub, nil))
			if err := healthy.Revoked(state); err != nil {
				t.Errorf("%s sent along, nobody revoked: %v", name, err)
			}
		}
	}
}

// The certificate of a CA may be replaced by one with the same key that begins
// after those that the CA issued.
func TestARenewedRootHidesNoRevocation(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{CommonName: "root"})
	now := time.Now()
	alice := issue(t, ca, devpki.Request{CommonName: "alice", NotBefore: now.Add(-3 * time.Minute)})
	template := *ca.Certificate()
	template.SerialNumber, template.NotBefore = big.NewInt(99), now.Add(-time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, ca.Key().Public(), ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust := material(nil, ca)
	trust.CAs, trust.Roots = []*x509.Certificate{renewed}, x509.NewCertPool()
	trust.Roots.AddCert(renewed)
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{alice.Leaf, ca.Certificate()}}

	if err := newRevocable(t, trust, crlOf(t, ca, nil, alice.Leaf)).Revoked(state); reason(err) != "revoked" {
		t.Errorf("revoked by a CA that was renewed: %v", err)
	}
	// The old one may well be in the CA's list; it is above nothing.
	if err := newRevocable(t, trust, crlOf(t, ca, nil, ca.Certificate())).Revoked(state); err != nil {
		t.Errorf("the root's old certificate revoked: %v", err)
	}
}

func TestAPeerThatWouldBeLetInAgainStays(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	other := newCA(t, devpki.Options{CommonName: "other root"})
	alice := issue(t, b.sub, devpki.Request{CommonName: "alice"})
	template := *b.sub.Certificate()
	template.SerialNumber = big.NewInt(99)
	der, err := x509.CreateCertificate(rand.Reader, &template, other.Certificate(), b.sub.Key().Public(), other.Key())
	if err != nil {
		t.Fatal(err)
	}
	cross, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust := material(nil, b.root)
	trust.CAs = append(trust.CAs, other.Certificate())
	trust.Roots = trust.Roots.Clone()
	trust.Roots.AddCert(other.Certificate())
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{alice.Leaf, b.sub.Certificate(), cross}}
	lists := [][]byte{crlOf(t, b.root, nil, b.sub.Certificate()), crlOf(t, b.sub, nil)}

	if err := newRevocable(t, trust, append(lists, crlOf(t, other, nil))...).Revoked(state); err != nil {
		t.Errorf("with another chain that holds: %v", err)
	}
	if err := newRevocable(t, trust, append(lists, crlOf(t, other, nil, cross))...).Revoked(state); reason(err) != "revoked" {
		t.Errorf("with both revoked: %v", err)
	}
	if err := newRevocable(t, trust, lists...).Revoked(state); reason(err) != "revoked" {
		t.Errorf("with the other chain's list missing: %v", err)
	}
}

// A peer can neither wear a reload out nor hide behind many certificates.
func TestAPeerThatSentTooMuchToTellIsNotKept(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	alice := issue(t, b.sub, devpki.Request{CommonName: "alice"})
	key := issue(t, b.sub, devpki.Request{CommonName: "key"})
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{alice.Leaf}}
	for i := range 200 {
		state.PeerCertificates = append(state.PeerCertificates, selfMade(t, x509.Certificate{
			Subject: b.sub.Certificate().Subject, SerialNumber: big.NewInt(int64(i)), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true,
		}, key, nil))
	}
	state.PeerCertificates = append(state.PeerCertificates, b.sub.Certificate())
	source := newRevocable(t, material(nil, b.root), crlOf(t, b.root, nil), crlOf(t, b.sub, nil, alice.Leaf))
	if err := source.Revoked(state); reason(err) != "bad_certificate" {
		t.Errorf("%v", err)
	}
}
