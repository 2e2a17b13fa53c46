package keystore

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"

	"sallyport/devpki"
)

func TestChainsAreOrderedByIssuer(t *testing.T) {
	t.Parallel()
	root := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{CommonName: "root"}))
	one := must[*devpki.CA](t)(root.Intermediate(devpki.Options{CommonName: "one"}))
	two := must[*devpki.CA](t)(one.Intermediate(devpki.Options{CommonName: "two"}))
	namesake := must[*devpki.CA](t)(root.Intermediate(devpki.Options{CommonName: "two"})) // same name, another key
	id := must[*devpki.Identity](t)(two.Issue(devpki.Request{CommonName: "server"}))

	want := []*x509.Certificate{id.Leaf, two.Certificate(), one.Certificate(), root.Certificate()}
	bag := []*x509.Certificate{root.Certificate(), namesake.Certificate(), one.Certificate(), id.Leaf, two.Certificate(), one.Certificate()}
	same := func(a, b *x509.Certificate) bool { return a.Equal(b) }
	if got := chainOf(id.Leaf, bag); !slices.EqualFunc(got, want, same) {
		t.Errorf("chain of %d, want leaf, two, one, root", len(got))
	}
	identity := must[*tls.Certificate](t)(Pair(bag, id.Key))
	if last := identity.Certificate[len(identity.Certificate)-1]; len(identity.Certificate) != 5 || !bytes.Equal(last, namesake.Certificate().Raw) {
		t.Errorf("%d certificates; the one that is not of the chain should be last", len(identity.Certificate))
	}
}
