package certloader_test

import (
	"crypto/x509"
	"testing"
	"time"

	"sallyport/devpki"
)

func TestALaterListOfTheSameSupersedes(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	ca := newCA(t, devpki.Options{CommonName: "test CA"})
	rekeyed := newCA(t, devpki.Options{CommonName: "test CA"})
	all := func(from, to time.Duration) []byte { return crlOf(t, ca, between(from, to)) }
	leaves := func(list *x509.RevocationList) {
		scoped(yes(1))(list)
		between(-2*day, -day)(list)
	}
	expired := all(-2*day, -day)
	for _, test := range []struct {
		name  string
		lists [][]byte
		want  bool // of the first
	}{
		{"alone", [][]byte{expired}, false},
		{"beside a later one", [][]byte{expired, all(-day, day)}, true},
		{"good still, beside a later one", [][]byte{all(-day, day), all(-day, 2*day)}, true},
		{"beside one that ended before", [][]byte{expired, all(-3*day, -2*day)}, false},
		{"beside a later one that has ended too", [][]byte{expired, all(-2*day, -day/2)}, false},
		{"beside one that is not valid yet", [][]byte{expired, all(day, 2*day)}, false},
		{"beside one by another key", [][]byte{expired, crlOf(t, rekeyed, nil)}, false},
		{"beside one about fewer", [][]byte{expired, crlOf(t, ca, scoped(yes(1)))}, false},
		{"beside a later one about the same few", [][]byte{crlOf(t, ca, leaves), crlOf(t, ca, scoped(yes(1)))}, true},
	} {
		if got := newRevocable(t, material(nil, ca), test.lists...).CRLs()[0].Superseded; got != test.want {
			t.Errorf("%s: superseded = %t, want %t", test.name, got, test.want)
		}
	}
}

func TestAListFromAboveWhatIsTrustedIsUnused(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	lower, err := b.sub.Intermediate(devpki.Options{CommonName: "lower CA"})
	if err != nil {
		t.Fatal(err)
	}
	trust := func(cas ...*devpki.CA) []*x509.Certificate {
		var certs []*x509.Certificate
		for _, ca := range cas {
			certs = append(certs, ca.Certificate())
		}
		return certs
	}
	for _, test := range []struct {
		name  string
		trust []*x509.Certificate
		list  *devpki.CA
		want  bool
	}{
		{"the root's, and an intermediate alone is trusted", trust(b.sub), b.root, true},
		{"the root's, and it is trusted too", trust(b.sub, b.root), b.root, false},
		{"the intermediate's, and it alone is trusted", trust(b.sub), b.sub, false},
		{"that of an intermediate which peers send", trust(b.root), b.sub, false},
		{"that of one below a trusted intermediate", trust(b.sub), lower, false},
		{"the root's, and the system's CAs are trusted", nil, b.root, false},
	} {
		m := material(nil, b.root)
		m.CAs, m.Roots = test.trust, x509.NewCertPool()
		for _, ca := range test.trust {
			m.Roots.AddCert(ca)
		}
		if got := newRevocable(t, m, crlOf(t, test.list, nil)).CRLs()[0].Unused; got != test.want {
			t.Errorf("%s: unused = %t, want %t", test.name, got, test.want)
		}
	}
}
