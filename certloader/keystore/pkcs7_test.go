package keystore

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sallyport/devpki"
)

// signedData writes PKCS#7 with the certificates in it.
func signedData(t testing.TB, certs ...*x509.Certificate) []byte {
	t.Helper()
	var b cryptobyte.Builder
	tag := cryptobyte_asn1.Tag(0).ContextSpecific().Constructed()
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(tag, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cryptobyte_asn1.SET, func(*cryptobyte.Builder) {})
				b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1})
				})
				b.AddASN1(tag, func(b *cryptobyte.Builder) {
					for _, cert := range certs {
						b.AddBytes(cert.Raw)
					}
				})
				b.AddASN1(cryptobyte_asn1.SET, func(*cryptobyte.Builder) {})
			})
		})
	})
	return must[[]byte](t)(b.Bytes())
}

func TestPKCS7IsAnUnorderedBagOfCertificates(t *testing.T) {
	t.Parallel()
	id, stranger := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	certs := must[[]*x509.Certificate](t)(parsePKCS7(signedData(t, id.Chain[0], id.Leaf)))
	if len(certs) != 2 || !certs[0].Equal(id.Chain[0]) || !certs[1].Equal(id.Leaf) {
		t.Errorf("%d certificates, or in another order", len(certs))
	}
	identity := must[*tls.Certificate](t)(Pair(certs, id.Key))
	if !isIdentity(identity, id) {
		t.Error("the identity is not in order")
	}
	der := signedData(t, stranger.Leaf)
	for length := range der {
		if _, err := parsePKCS7(der[:length]); err == nil {
			t.Errorf("the first %d of %d bytes load", length, len(der))
		}
	}
	enveloped := bytes.Replace(der, marshal(t, oidSignedData), marshal(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}), 1)
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"with a byte after its end":     {append(bytes.Clone(der), 0), "not PKCS#7"},
		"with more than its content":    {slices.Concat([]byte{0x30, 0x82}, binary.BigEndian.AppendUint16(nil, uint16(len(der)-4+2)), der[4:], []byte{5, 0}), "damaged PKCS#7"},
		"without certificates":          {signedData(t), "without a certificate"},
		"of another type":               {enveloped, "1.2.840.113549.1.7.3"},
		"in BER":                        {[]byte{0x30, 0x80, 6, 0, 0, 0}, "in BER"},
		"with garbage as a certificate": {signedData(t, id.Leaf, &x509.Certificate{Raw: []byte("garbage")}), "certificate 2"},
		"with an empty certificate":     {signedData(t, &x509.Certificate{Raw: []byte{0x30, 0}}), "certificate 1"},
	} {
		if _, err := parsePKCS7(test.der); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error = %v, want %q", name, err, test.want)
		}
	}
}
