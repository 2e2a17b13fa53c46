package devpki_test

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"sallyport/devpki"
)

func newCA(t testing.TB, opts devpki.Options) *devpki.CA {
	t.Helper()
	ca, err := devpki.NewCA(opts)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestRootConformsToRFC5280(t *testing.T) {
	t.Parallel()
	root := newCA(t, devpki.Options{CommonName: "root"}).Certificate()

	if !root.IsCA || !root.BasicConstraintsValid {
		t.Error("not a CA by its basic constraints")
	}
	if want := x509.KeyUsageCertSign | x509.KeyUsageCRLSign; root.KeyUsage != want {
		t.Errorf("key usage = %b, want %b", root.KeyUsage, want)
	}
	if len(root.SubjectKeyId) == 0 {
		t.Error("no subject key identifier")
	}
	if err := root.CheckSignatureFrom(root); err != nil {
		t.Errorf("not self-signed: %v", err)
	}
	wantCritical(t, root, 2, 5, 29, 15) // key usage
	wantCritical(t, root, 2, 5, 29, 19) // basic constraints
}

func TestIntermediatesChainToTheRoot(t *testing.T) {
	t.Parallel()
	root := newCA(t, devpki.Options{CommonName: "root"})
	upper, err := root.Intermediate(devpki.Options{CommonName: "upper"})
	if err != nil {
		t.Fatal(err)
	}
	lower, err := upper.Intermediate(devpki.Options{CommonName: "lower", Key: devpki.ECDSAP384})
	if err != nil {
		t.Fatal(err)
	}
	id, err := lower.Issue(devpki.Request{CommonName: "leaf"})
	if err != nil {
		t.Fatal(err)
	}

	var names []string
	for _, cert := range id.Chain {
		names = append(names, cert.Subject.CommonName)
	}
	if got := strings.Join(names, " "); got != "lower upper" {
		t.Errorf("chain = %q, want the issuer first and no root: %q", got, "lower upper")
	}
	if !lower.Root().Equal(root.Certificate()) {
		t.Errorf("root of the lower CA = %s", lower.Root().Subject)
	}
	if !bytes.Equal(id.Leaf.AuthorityKeyId, lower.Certificate().SubjectKeyId) {
		t.Error("the leaf's authority key identifier is not its issuer's")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range id.Chain {
		intermediates.AddCert(cert)
	}
	if _, err := id.Leaf.Verify(x509.VerifyOptions{Roots: root.Pool(), Intermediates: intermediates}); err != nil {
		t.Errorf("the chain does not verify: %v", err)
	}
	if _, err := id.Leaf.Verify(x509.VerifyOptions{Roots: root.Pool()}); err == nil {
		t.Error("the leaf verifies without its intermediates")
	}
}

func TestSerialNumbersAreRandomAndPositive(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	seen := map[string]bool{}
	for range 50 {
		id, err := ca.Issue(devpki.Request{CommonName: "leaf"})
		if err != nil {
			t.Fatal(err)
		}
		serial := id.Leaf.SerialNumber
		if serial.Sign() <= 0 || serial.BitLen() > 128 {
			t.Fatalf("serial number %s", serial)
		}
		if seen[serial.String()] {
			t.Fatalf("serial number %s twice", serial)
		}
		seen[serial.String()] = true
	}
}

func TestAnAuthorityThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, opts := range map[string]devpki.Options{
		"ends before it starts": {NotBefore: now, NotAfter: now.Add(-time.Hour)},
		"name too long":         {CommonName: strings.Repeat("x", 65)},
		"unknown kind of key":   {Key: 99},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := devpki.NewCA(opts); err == nil {
				t.Error("NewCA made it")
			}
			if _, err := newCA(t, devpki.Options{}).Intermediate(opts); err == nil {
				t.Error("Intermediate made it")
			}
		})
	}
}

func wantCritical(t *testing.T, cert *x509.Certificate, oid ...int) {
	t.Helper()
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oid) {
			if !ext.Critical {
				t.Errorf("extension %v is not critical", ext.Id)
			}
			return
		}
	}
	t.Errorf("no extension %v", oid)
}
