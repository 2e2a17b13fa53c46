package keystore

import (
	"crypto/x509"
	encoding "encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var oidSignedData = encoding.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// parsePKCS7 returns the certificates of a SignedData (RFC 5652, 5.1), which CAs
// hand out as a bag for a chain. They are a set, so their order means nothing.
// What is signed in it, if anything is, counts for nothing either.
func parsePKCS7(der []byte) ([]*x509.Certificate, error) {
	var (
		input                          = cryptobyte.String(der)
		info, content, signed, certSet cryptobyte.String
		contentType                    encoding.ObjectIdentifier
		present                        bool
	)
	certificates := asn1.Tag(0).ContextSpecific().Constructed()
	switch {
	case len(der) > 1 && der[1] == 0x80:
		return nil, errors.New("PKCS#7 in BER, not DER; openssl pkcs7 writes it anew")
	case !input.ReadASN1(&info, asn1.SEQUENCE) || !input.Empty() || !info.ReadASN1ObjectIdentifier(&contentType):
		return nil, errors.New("not PKCS#7, or damaged")
	case !contentType.Equal(oidSignedData):
		return nil, fmt.Errorf("PKCS#7 of type %v, which holds no certificates", contentType)
	case !info.ReadASN1(&content, certificates) || !info.Empty(),
		!content.ReadASN1(&signed, asn1.SEQUENCE) || !content.Empty(),
		!signed.SkipASN1(asn1.INTEGER),  // version
		!signed.SkipASN1(asn1.SET),      // digest algorithms
		!signed.SkipASN1(asn1.SEQUENCE), // what is signed
		!signed.ReadOptionalASN1(&certSet, &present, certificates),
		!signed.SkipOptionalASN1(asn1.Tag(1).ContextSpecific().Constructed()), // CRLs
		!signed.SkipASN1(asn1.SET) || !signed.Empty():                         // signers
		return nil, errors.New("damaged PKCS#7")
	}
	var certs []*x509.Certificate
	for !certSet.Empty() {
		var element cryptobyte.String
		if !certSet.ReadASN1Element(&element, asn1.SEQUENCE) {
			return nil, fmt.Errorf("certificate %d in PKCS#7 is not of X.509", len(certs)+1)
		}
		cert, err := x509.ParseCertificate(element)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in PKCS#7: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("PKCS#7 without a certificate in it")
	}
	return certs, nil
}
