package keystore

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"

	"sallyport/devpki"
)

// FuzzPEMKeystore: what loads has a key that fits its leaf and every
// certificate of the file; written anew it loads as the same; and cut within a
// block it does not load.
func FuzzPEMKeystore(f *testing.F) {
	ca, err := devpki.NewCA(devpki.Options{})
	if err != nil {
		f.Fatal(err)
	}
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		f.Fatal(err)
	}
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.Ed25519} {
		id, err := sub.Issue(devpki.Request{CommonName: "server", Key: kind})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(id.CombinedPEM(), 100)
		f.Add(append(id.KeyPEM(), id.CertPEM()...), 1000)
		f.Add(append(append(sub.PEM(), id.KeyPEM()...), id.CertPEM()...), -1)
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), 0)

	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		identity, err := parsePEMKeystore(data, "changeit")
		if err != nil {
			return
		}
		key := identity.PrivateKey.(crypto.Signer)
		if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(identity.Leaf.PublicKey) {
			t.Error("the key does not fit the leaf")
		}
		if !bytes.Equal(identity.Leaf.Raw, identity.Certificate[0]) {
			t.Error("Leaf is not the first certificate")
		}
		if blocks := bytes.Count(data, []byte(pemBegin)); len(identity.Certificate) > blocks-1 {
			t.Errorf("%d certificates and a key of %d blocks", len(identity.Certificate), blocks)
		}
		again, err := parsePEMKeystore(encode(t, identity), "")
		if err != nil || !sameChain(identity, again) {
			t.Errorf("written anew it does not load as the same: %v", err)
		}
		if cut < 0 || cut > len(data) || bytes.Count(data[:cut], []byte(pemBegin)) == bytes.Count(data[:cut], []byte(pemEnd)) {
			return
		}
		if _, err := parsePEMKeystore(data[:cut], "changeit"); err == nil {
			t.Errorf("cut within a block, at %d, it still loads", cut)
		}
	})
}

func encode(t *testing.T, identity *tls.Certificate) []byte {
	t.Helper()
	var out []byte
	for _, der := range identity.Certificate {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(identity.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
}

func sameChain(a, b *tls.Certificate) bool {
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
}
