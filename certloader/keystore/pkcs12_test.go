package keystore

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
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
