package devpki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

func TestIssueKeepsAKeyThatIsThere(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	first, err := ca.Issue(devpki.Request{CommonName: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	next, err := ca.Issue(devpki.Request{CommonName: "alice", Signer: first.Key})
	if err != nil {
		t.Fatal(err)
	}
	if next.Leaf.Equal(first.Leaf) || !bytes.Equal(next.Leaf.RawSubjectPublicKeyInfo, first.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("want another certificate for the same key")
	}
	if _, err := tls.X509KeyPair(next.CertPEM(), next.KeyPEM()); err != nil {
		t.Error(err)
	}
}

func TestIssuedCertificateHoldsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	notBefore := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	notAfter := notBefore.Add(time.Hour)
	id, err := ca.Issue(devpki.Request{
		CommonName:          "alice",
		OrganizationalUnits: []string{"eng", "ops"},
		DNSNames:            []string{"a.example", "*.b.example"},
		IPs:                 []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		URIs:                []string{"spiffe://example/alice"},
		NotBefore:           notBefore,
		NotAfter:            notAfter,
		Usages:              []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf := id.Leaf
	if leaf.Subject.CommonName != "alice" || !slices.Equal(leaf.Subject.OrganizationalUnit, []string{"eng", "ops"}) {
		t.Errorf("subject = %s", leaf.Subject)
	}
	if !slices.Equal(leaf.DNSNames, []string{"a.example", "*.b.example"}) {
		t.Errorf("DNS names = %q", leaf.DNSNames)
	}
	if len(leaf.IPAddresses) != 2 || leaf.IPAddresses[0].String() != "192.0.2.1" || leaf.IPAddresses[1].String() != "2001:db8::1" {
		t.Errorf("IP addresses = %v", leaf.IPAddresses)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://example/alice" {
		t.Errorf("URIs = %v", leaf.URIs)
	}
	if !leaf.NotBefore.Equal(notBefore) || !leaf.NotAfter.Equal(notAfter) {
		t.Errorf("validity = %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("usages = %v", leaf.ExtKeyUsage)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.SubjectKeyId) == 0 {
		t.Errorf("IsCA = %t, key usage = %b, key identifier = %x", leaf.IsCA, leaf.KeyUsage, leaf.SubjectKeyId)
	}
	wantCritical(t, leaf, 2, 5, 29, 15) // key usage
}

func TestDefaultValidityIsAYearButNotBeyondTheAuthority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		id, err := newCA(t, devpki.Options{NotAfter: time.Now().Add(3 * devpki.DefaultValidity)}).
			Issue(devpki.Request{CommonName: "leaf"})
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(id.Leaf.NotAfter); got != devpki.DefaultValidity {
			t.Errorf("lasts %s from now, want %s", got, devpki.DefaultValidity)
		}
		if !id.Leaf.NotBefore.Before(time.Now()) {
			t.Errorf("starts at %s, not before now", id.Leaf.NotBefore)
		}

		short := newCA(t, devpki.Options{NotAfter: time.Now().Add(time.Hour)})
		if id, err = short.Issue(devpki.Request{CommonName: "leaf"}); err != nil {
			t.Fatal(err)
		}
		if !id.Leaf.NotAfter.Equal(short.Certificate().NotAfter) {
			t.Errorf("ends at %s, its CA at %s", id.Leaf.NotAfter, short.Certificate().NotAfter)
		}
	})
}

func TestEveryKindOfKeyMakesAPairThatFits(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.ECDSAP384, devpki.RSA2048, devpki.Ed25519} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			id, err := sub.Issue(devpki.Request{CommonName: "leaf", Key: kind})
			if err != nil {
				t.Fatal(err)
			}
			for name, pair := range map[string]struct{ cert, key []byte }{
				"separate": {id.CertPEM(), id.KeyPEM()},
				"combined": {id.CombinedPEM(), id.CombinedPEM()},
			} {
				cert, err := tls.X509KeyPair(pair.cert, pair.key)
				if err != nil {
					t.Errorf("%s PEM: %v", name, err)
				} else if len(cert.Certificate) != 2 {
					t.Errorf("%s PEM holds %d certificates, want leaf and issuer", name, len(cert.Certificate))
				}
			}
			if got := id.TLSCertificate(); len(got.Certificate) != 2 || got.Leaf != id.Leaf || got.PrivateKey == nil {
				t.Errorf("TLSCertificate() = %d certificates, leaf %v", len(got.Certificate), got.Leaf)
			}
			for _, password := range []string{"", "secret"} {
				data, err := id.PKCS12(password)
				if err != nil {
					t.Fatal(err)
				}
				_, leaf, chain, err := pkcs12.DecodeChain(data, password)
				if err != nil {
					t.Fatalf("PKCS#12 with password %q: %v", password, err)
				}
				if !leaf.Equal(id.Leaf) || len(chain) != 1 || !chain[0].Equal(sub.Certificate()) {
					t.Errorf("PKCS#12 holds %s and %d more", leaf.Subject, len(chain))
				}
			}
		})
	}
}

func TestARequestThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	now := time.Now()
	for name, req := range map[string]devpki.Request{
		"nothing in it":           {},
		"only units":              {OrganizationalUnits: []string{"eng"}},
		"empty unit":              {CommonName: "x", OrganizationalUnits: []string{""}},
		"name too long":           {CommonName: strings.Repeat("x", 65)},
		"empty DNS name":          {DNSNames: []string{""}},
		"DNS name beyond ASCII":   {DNSNames: []string{"bücher.example"}},
		"no IP address":           {IPs: []netip.Addr{{}}},
		"IP address with a zone":  {IPs: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}},
		"URI without a scheme":    {URIs: []string{"/path"}},
		"URI that is none":        {URIs: []string{"spiffe://%zz"}},
		"URI with a scheme alone": {URIs: []string{"spiffe:"}},
		"ends before it starts":   {CommonName: "x", NotBefore: now, NotAfter: now.Add(-time.Hour)},
		"unknown kind of key":     {CommonName: "x", Key: 99},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if id, err := ca.Issue(req); err == nil {
				t.Errorf("issued %s", id.Leaf.Subject)
			}
		})
	}
}

// FuzzIssue: a name that is accepted comes back from the certificate as it was
// given.
func FuzzIssue(f *testing.F) {
	ca := newCA(f, devpki.Options{})
	f.Add("alice", "eng", "a.example", "spiffe://example/alice")
	f.Add("", "", "*.example", "urn:x")
	f.Add("a\x00b", "ü", "xn--bcher-kva.example", "http://[::1]:80/%41?q#f")
	f.Fuzz(func(t *testing.T, commonName, unit, dnsName, uri string) {
		id, err := ca.Issue(devpki.Request{
			CommonName:          commonName,
			OrganizationalUnits: []string{unit},
			DNSNames:            []string{dnsName},
			URIs:                []string{uri},
		})
		if err != nil {
			return
		}
		if got := id.Leaf.Subject.CommonName; got != commonName {
			t.Errorf("common name %q, asked for %q", got, commonName)
		}
		if got := id.Leaf.Subject.OrganizationalUnit; !slices.Equal(got, []string{unit}) {
			t.Errorf("units %q, asked for %q", got, unit)
		}
		if got := id.Leaf.DNSNames; !slices.Equal(got, []string{dnsName}) {
			t.Errorf("DNS names %q, asked for %q", got, dnsName)
		}
		if len(id.Leaf.URIs) != 1 {
			t.Fatalf("URIs %v, asked for %q", id.Leaf.URIs, uri)
		}
		if _, err := id.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()}); err != nil {
			t.Errorf("does not verify: %v", err)
		}
	})
}
