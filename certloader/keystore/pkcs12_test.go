package keystore

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

// pfxWithMAC is a PKCS#12 with nothing in it but a MAC.
func pfxWithMAC(t testing.TB, iterations int) []byte {
	t.Helper()
	type digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	type macData struct {
		MAC        digestInfo
		Salt       []byte
		Iterations int
	}
	type contentInfo struct {
		Type asn1.ObjectIdentifier
	}
	return marshal(t, struct {
		Version int
		Content contentInfo
		MAC     macData
	}{
		Version: 3,
		Content: contentInfo{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
		MAC: macData{
			MAC:        digestInfo{algorithm(t, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.NullRawValue), random(20)},
			Salt:       random(8),
			Iterations: iterations,
		},
	})
}

func TestPKCS12LeavesOutWhatIsNotOfTheChain(t *testing.T) {
	t.Parallel()
	id, stranger := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	others := []*x509.Certificate{stranger.Leaf, id.Chain[0]}
	data := must[[]byte](t)(pkcs12.Modern.Encode(id.Key, id.Leaf, others, "changeit"))
	if identity := must[*tls.Certificate](t)(parsePKCS12(data, "changeit")); !isIdentity(identity, id) {
		t.Errorf("%d certificates, want the leaf and its issuer", len(identity.Certificate))
	}
}

// keytool makes such keystores, and pkcs12 would say of them that the password is
// wrong or take the first.
func TestPKCS12OfSeveralKeysIsRefused(t *testing.T) {
	t.Parallel()
	shrouded := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	type bag struct {
		Kind  asn1.ObjectIdentifier
		Value asn1.RawValue `asn1:"explicit,tag:0"`
	}
	one := bag{shrouded, asn1.RawValue{FullBytes: marshal(t, "encrypted")}}
	for n, want := range map[int]string{1: "", 3: "3 private keys in it; leave the one to use"} {
		// Within an octet string, as they are.
		err := surveyPKCS12(marshal(t, marshal(t, slices.Repeat([]bag{one}, n))))
		if err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%d keys: error = %v, want %q", n, err, want)
		}
	}
}

func TestPKCS12WithAKeyThatCannotSign(t *testing.T) {
	t.Parallel()
	key := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	data := must[[]byte](t)(pkcs12.Modern.Encode(key, newTestIdentity(t, devpki.ECDSAP256).Leaf, nil, "changeit"))
	if _, err := parsePKCS12(data, "changeit"); err == nil || !strings.Contains(err.Error(), "is X25519, which TLS here cannot use") {
		t.Errorf("error = %v", err)
	}
}
