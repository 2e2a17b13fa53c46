package certloader

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"

	"sallyport/devpki"
)

// FuzzCRLs: each list that loads is complete and understood; written anew, in
// PEM or DER, it loads as the same; and cut short it does not load.
func FuzzCRLs(f *testing.F) {
	ca, err := devpki.NewCA(devpki.Options{})
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Now(), ReasonCode: 1}},
	}, ca.Certificate(), ca.Key())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(append(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), ca.PEM()...))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))

	f.Fuzz(func(t *testing.T, data []byte) {
		lists, err := parseCRLs(data)
		if err != nil {
			return
		}
		if len(lists) == 0 {
			t.Fatal("loads without a list")
		}
		for _, list := range lists {
			if list.list.NextUpdate.IsZero() {
				t.Error("a list without an end loads")
			}
			der := list.list.Raw
			for _, form := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})} {
				again, err := parseCRLs(form)
				if err != nil || len(again) != 1 || !sameList(list, again[0]) {
					t.Errorf("written anew it does not load as the same: %v", err)
				}
			}
			if _, err := parseCRL(der[:len(der)-1]); err == nil {
				t.Error("cut short it still loads")
			}
		}
	})
}

func sameList(a, b *crl) bool {
	return bytes.Equal(a.list.Raw, b.list.Raw) && maps.Equal(a.revoked, b.revoked) &&
		a.scope.leaves == b.scope.leaves && a.scope.cas == b.scope.cas
}

// FuzzCRLScope: a scope that is understood covers no certificate that it does
// not speak of.
func FuzzCRLScope(f *testing.F) {
	for _, seed := range [][]byte{
		{0x30, 0}, {0x30, 3, 0x81, 1, 0xff}, {0x30, 3, 0x82, 1, 0xff}, {0x30, 3, 0x84, 1, 0xff},
		{0x30, 8, 0xa0, 6, 0xa0, 4, 0x86, 2, 'u', ':'}, {0x30, 6, 0xa0, 4, 0xa0, 2, 0x86, 0},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		var scope crlScope
		if scope.parse(der) != nil {
			return
		}
		if scope.leaves && scope.cas {
			t.Error("for leaves alone and for CAs alone")
		}
		if scope.points != nil && len(scope.points) == 0 {
			t.Error("for a distribution point that no certificate can name")
		}
		var outer asn1.RawValue
		if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 || outer.Tag != asn1.TagSequence {
			t.Error("understood, and is no sequence")
		}
		for _, cert := range []*x509.Certificate{{}, {IsCA: true}, {CRLDistributionPoints: []string{"\x00 no URI"}}} {
			named := scope.points == nil || len(cert.CRLDistributionPoints) > 0
			if scope.covers(cert) && (!named || scope.leaves && cert.IsCA || scope.cas && !cert.IsCA) {
				t.Errorf("covers %+v", cert)
			}
		}
	})
}
