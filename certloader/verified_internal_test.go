package certloader

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/devpki"
)

// trusting is a snapshot that trusts what a CA issues.
func trusting(t testing.TB, ca *devpki.CA) *snapshot {
	t.Helper()
	s, err := newSnapshot(&Material{Roots: ca.Pool(), CAs: []*x509.Certificate{ca.Root()}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// must returns what was made.
func must[T any](t testing.TB) func(T, error) T {
	return func(made T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
}

// unsigned is a certificate that verifies only where its signature is not looked
// at: the bytes are the same, the signature in it is not.
func unsigned(cert *x509.Certificate) *x509.Certificate {
	changed := *cert
	changed.Signature = slices.Clone(cert.Signature)
	changed.Signature[len(changed.Signature)-1] ^= 1
	return &changed
}

// verdict is the reason of a refusal, "in" for none.
func verdict(_ [][]*x509.Certificate, err error) string {
	if err == nil {
		return "in"
	}
	if refusal, ok := errors.AsType[*VerifyError](err); ok {
		return refusal.Reason()
	}
	return err.Error()
}

func TestVerifiedPeerComesBackWithoutASignatureBeingChecked(t *testing.T) {
	t.Parallel()
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	sub := must[*devpki.CA](t)(ca.Intermediate(devpki.Options{CommonName: "sub CA"}))
	alice := must[*devpki.Identity](t)(sub.Issue(devpki.Request{CommonName: "alice"}))
	s := trusting(t, ca)
	shown := []*x509.Certificate{unsigned(alice.Leaf), alice.Chain[0]}
	if got := verdict(s.verify(shown, x509.ExtKeyUsageClientAuth, time.Now())); got == "in" {
		t.Fatal("let in unverified")
	}
	if _, err := s.verify([]*x509.Certificate{alice.Leaf, alice.Chain[0]}, x509.ExtKeyUsageClientAuth, time.Now()); err != nil {
		t.Fatal(err)
	}
	chains, err := s.verify(shown, x509.ExtKeyUsageClientAuth, time.Now())
	if err != nil {
		t.Fatalf("verified again: %v", err)
	}
	if len(chains) != 1 || len(chains[0]) != 3 || !chains[0][0].Equal(alice.Leaf) || !chains[0][2].Equal(ca.Root()) {
		t.Errorf("the chains are %v", chains)
	}
}

func TestVerifiedPeerIsRefusedForWhatDiffers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{CommonName: "root CA", NotAfter: now.Add(30 * time.Hour)}))
	sub := must[*devpki.CA](t)(ca.Intermediate(devpki.Options{CommonName: "sub CA", NotAfter: now.Add(20 * time.Hour)}))
	namesake := must[*devpki.CA](t)(ca.Intermediate(devpki.Options{CommonName: "sub CA"}))
	stranger := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{CommonName: "root CA"}))
	request := devpki.Request{CommonName: "alice", NotAfter: now.Add(10 * time.Hour), Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	alice := must[*devpki.Identity](t)(sub.Issue(request))
	lasting := request
	lasting.NotAfter = now.Add(100 * time.Hour)
	outlives := must[*devpki.Identity](t)(sub.Issue(lasting)) // its issuers
	direct := must[*devpki.Identity](t)(ca.Issue(lasting))
	again := request
	again.Signer = alice.Key
	forged := must[*devpki.Identity](t)(stranger.Issue(again))
	root := ca.Root()
	through := []*x509.Certificate{sub.Certificate()}
	of := func(leaf *x509.Certificate, chain ...*x509.Certificate) []*x509.Certificate {
		return append([]*x509.Certificate{leaf}, chain...)
	}
	for _, test := range []struct {
		name  string
		first []*x509.Certificate // nil: alice with the chain that she needs
		then  []*x509.Certificate
		usage x509.ExtKeyUsage // 0: as before
		after time.Duration
		want  string
	}{
		{name: "nothing", then: of(alice.Leaf, through...), want: "in"},
		{name: "the chain: none", then: of(alice.Leaf), want: "unknown_ca"},
		{name: "the chain: another of its name", then: of(alice.Leaf, namesake.Certificate()), want: "unknown_ca"},
		{name: "the chain: more of it", then: of(alice.Leaf, sub.Certificate(), root), want: "in"},
		{name: "the chain: the root alone", then: of(alice.Leaf, root), want: "unknown_ca"},
		{name: "the leaf: its issuer", then: of(sub.Certificate()), want: "in"}, // an intermediate is good by itself
		{name: "the certificate, by the same key", then: of(forged.Leaf, through...), want: "unknown_ca"},
		{name: "the usage", then: of(alice.Leaf, through...), usage: x509.ExtKeyUsageServerAuth, want: "bad_certificate"},
		{name: "the time: the leaf has expired", then: of(alice.Leaf, through...), after: 11 * time.Hour, want: "expired"},
		{name: "the time: before the leaf", then: of(alice.Leaf, through...), after: -time.Hour, want: "not_yet_valid"},
		{name: "the time: the issuer has expired", first: of(outlives.Leaf, through...), then: of(outlives.Leaf, through...), after: 25 * time.Hour, want: "expired"},
		{name: "the time: the root has expired", first: of(direct.Leaf), then: of(direct.Leaf), after: 35 * time.Hour, want: "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := trusting(t, ca)
			first, usage := test.first, test.usage
			if first == nil {
				first = of(alice.Leaf, through...)
			}
			if usage == 0 {
				usage = x509.ExtKeyUsageClientAuth
			}
			if got := verdict(s.verify(first, x509.ExtKeyUsageClientAuth, now)); got != "in" {
				t.Fatalf("before: %s", got)
			}
			for range 2 { // no refusal makes it better
				if got := verdict(s.verify(test.then, usage, now.Add(test.after))); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			}
			if got := verdict(s.verify(first, x509.ExtKeyUsageClientAuth, now)); got != "in" {
				t.Errorf("afterwards: %s", got)
			}
		})
	}
}

// TestShownDiffersWhereCertificatesDo: cutting the same bytes in another place
// makes other certificates.
func TestShownDiffersWhereCertificatesDo(t *testing.T) {
	t.Parallel()
	length := binary.BigEndian.AppendUint64(nil, 1)
	seen := make(map[shown]string)
	for _, certs := range [][]string{
		{"abc"}, {"ab", "c"}, {"a", "bc"}, {"a", "b", "c"}, {"abc", ""}, {"", "abc"}, {"c", "b", "a"},
		{"a" + string(length) + "b"}, {"a", "b"}, // the length of one is in the other
		{"a", string(length) + "b"}, {"a" + string(length), "b"},
	} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			var list []*x509.Certificate
			for _, raw := range certs {
				list = append(list, &x509.Certificate{Raw: []byte(raw)})
			}
			name := fmt.Sprintf("%q for %d", certs, usage)
			digests := newShown(list, usage)
			if other, ok := seen[digests]; ok {
				t.Errorf("%s is %s", name, other)
			}
			seen[digests] = name
		}
	}
}

func TestVerifiedHoldsSoManyPeersAndNoMore(t *testing.T) {
	t.Parallel()
	const limit, peers = 8, 40
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	stranger := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	s := trusting(t, ca)
	s.verified = newVerified(limit)
	var all []*devpki.Identity
	for range peers {
		all = append(all, must[*devpki.Identity](t)(ca.Issue(devpki.Request{CommonName: "peer"})))
	}
	outsider := must[*devpki.Identity](t)(stranger.Issue(devpki.Request{CommonName: "peer"})).Leaf
	for round := range 3 {
		for i, peer := range all {
			if got := verdict(s.verify([]*x509.Certificate{peer.Leaf}, x509.ExtKeyUsageClientAuth, time.Now())); got != "in" {
				t.Fatalf("round %d, peer %d: %s", round, i, got)
			}
			if got := verdict(s.verify([]*x509.Certificate{outsider}, x509.ExtKeyUsageClientAuth, time.Now())); got != "unknown_ca" {
				t.Fatalf("a stranger: %s", got)
			}
			if n := len(s.verified.recent) + len(s.verified.previous); n > limit {
				t.Fatalf("%d peers are remembered, want %d at most", n, limit)
			}
		}
	}
	// Who comes often stays, whoever else comes.
	regular := []*x509.Certificate{all[0].Leaf}
	for i, peer := range all[1:] {
		for _, certs := range [][]*x509.Certificate{regular, {peer.Leaf}} {
			if got := verdict(s.verify(certs, x509.ExtKeyUsageClientAuth, time.Now())); got != "in" {
				t.Fatalf("peer %d: %s", i, got)
			}
		}
		if s.verified.recall(newShown(regular, x509.ExtKeyUsageClientAuth), time.Now()) == nil {
			t.Fatalf("forgotten after %d others", i+1)
		}
	}
}

func TestOnePeerPushesOutNobody(t *testing.T) {
	t.Parallel()
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	s := trusting(t, ca)
	alice := must[*devpki.Identity](t)(ca.Issue(devpki.Request{CommonName: "alice"})).Leaf
	bob := must[*devpki.Identity](t)(ca.Issue(devpki.Request{CommonName: "bob"})).Leaf
	show := func(certs ...*x509.Certificate) {
		t.Helper()
		if got := verdict(s.verify(certs, x509.ExtKeyUsageClientAuth, time.Now())); got != "in" {
			t.Fatal(got)
		}
	}
	show(alice)
	chain := []*x509.Certificate{bob}
	for range maxVerified {
		chain = append(chain, &x509.Certificate{Raw: []byte("another")})
		s.verified.remember(newShown(chain, x509.ExtKeyUsageClientAuth), [][]*x509.Certificate{{bob}})
	}
	if n := len(s.verified.recent) + len(s.verified.previous); n != 2 {
		t.Errorf("two peers take %d places", n)
	}
	show(unsigned(alice))
}

func TestSystemTrustIsAskedEachTime(t *testing.T) {
	t.Parallel()
	s := must[*snapshot](t)(newSnapshot(new(Material)))
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	s.verified.remember(shown{}, [][]*x509.Certificate{{ca.Root()}})
	if s.verified != nil || s.verified.recall(shown{}, time.Now()) != nil {
		t.Error("something is remembered under the system's trust")
	}
}

func TestVerifiedServesManyAtOnce(t *testing.T) {
	t.Parallel()
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	s := trusting(t, ca)
	s.verified = newVerified(4)
	var peers [][]*x509.Certificate
	for range 8 {
		peers = append(peers, []*x509.Certificate{must[*devpki.Identity](t)(ca.Issue(devpki.Request{CommonName: "peer"})).Leaf})
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 50 {
				if got := verdict(s.verify(peers[(i+j)%len(peers)], x509.ExtKeyUsageClientAuth, time.Now())); got != "in" {
					t.Error(got)
				}
			}
		})
	}
	all.Wait()
}
