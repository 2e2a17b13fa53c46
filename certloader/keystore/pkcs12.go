package keystore

import (
	"crypto/tls"
	"crypto/x509"
	encoding "encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"software.sslmate.com/src/go-pkcs12"
)

// parsePKCS12 reads a PKCS#12 keystore (RFC 7292) that holds one key with its
// chain. Java keeps trusted certificates beside it: what is not of the chain is
// left out.
func parsePKCS12(data []byte, password string) (*tls.Certificate, error) {
	if err := surveyPKCS12(data); err != nil {
		return nil, err
	}
	key, first, others, err := pkcs12.DecodeChain(data, password)
	wrong := errors.Is(err, pkcs12.ErrIncorrectPassword) || errors.Is(err, pkcs12.ErrDecryption)
	switch {
	case wrong && password == "":
		return nil, ErrNoPassword
	case wrong:
		return nil, ErrPassword
	case err != nil && strings.HasSuffix(err.Error(), "private key missing"):
		return nil, errors.New("no private key in it; it holds certificates alone")
	case err != nil && strings.HasSuffix(err.Error(), "certificate missing"):
		return nil, errors.New("no certificate in it")
	case err != nil:
		return nil, fmt.Errorf("not a PKCS#12 keystore, or a damaged one: %w", err)
	}
	signing, err := signer(key)
	if err != nil {
		return nil, err
	}
	certs := append([]*x509.Certificate{first}, others...)
	leaf, err := leafOf(certs, signing)
	if err != nil {
		return nil, err
	}
	return Pair(chainOf(leaf, certs), signing)
}

// surveyPKCS12 looks at what a PKCS#12 keystore shows without its password, and
// refuses what pkcs12 would take too long over, or not tell clearly: keys
// derived by any number of iterations, several private keys, and BER. What is
// within an encrypted part it cannot see; whoever made that knew the password.
func surveyPKCS12(data []byte) error {
	if len(data) > 1 && data[0] == 0x30 && data[1] == 0x80 {
		return errors.New("PKCS#12 in BER, not DER; export it anew with openssl pkcs12 or keytool -importkeystore")
	}
	var survey pkcs12Survey
	survey.mac(data)
	survey.walk(data, 0)
	if survey.most > maxIterations {
		return checkIterations(survey.most)
	}
	if survey.keys > 1 {
		return fmt.Errorf("%d private keys in it; leave the one to use", survey.keys)
	}
	return nil
}

// pkcs12Survey is what has been seen so far. What is no DER it passes over: to
// tell of that is up to pkcs12.
type pkcs12Survey struct {
	keys int   // bags with a private key
	most int64 // the largest number of iterations
}

// The deepest that a bag nests is below 20.
const maxPKCS12Depth = 32

// walk looks at each sequence in der that begins with an object identifier, in
// octet strings too, where PKCS#12 nests more DER.
func (s *pkcs12Survey) walk(der cryptobyte.String, depth int) {
	for depth < maxPKCS12Depth && !der.Empty() {
		var (
			element cryptobyte.String
			tag     asn1.Tag
			oid     encoding.ObjectIdentifier
		)
		if !der.ReadAnyASN1(&element, &tag) {
			return
		}
		if content := element; tag == asn1.SEQUENCE && content.ReadASN1ObjectIdentifier(&oid) {
			s.visit(oid.String(), content)
		}
		const constructed = asn1.Tag(0x20)
		if tag&constructed != 0 || tag == asn1.OCTET_STRING {
			s.walk(element, depth+1)
		}
	}
}

// visit looks at what follows an object identifier: the parameters of an
// algorithm, or what is in a bag.
func (s *pkcs12Survey) visit(oid string, content cryptobyte.String) {
	const (
		keyBag          = "1.2.840.113549.1.12.10.1.1"
		shroudedKeyBag  = "1.2.840.113549.1.12.10.1.2"
		pkcs12Algorithm = "1.2.840.113549.1.12.1."
	)
	switch {
	case oid == keyBag, oid == shroudedKeyBag:
		s.keys++
	case oid == oidPBKDF2.String(), strings.HasPrefix(oid, pkcs12Algorithm):
		var params cryptobyte.String
		if content.ReadASN1(&params, asn1.SEQUENCE) && params.SkipASN1(asn1.OCTET_STRING) {
			s.iterations(params)
		}
	}
}

// mac looks at the MacData of a PFX (RFC 7292, 4).
func (s *pkcs12Survey) mac(der cryptobyte.String) {
	var pfx, mac cryptobyte.String
	if der.ReadASN1(&pfx, asn1.SEQUENCE) && pfx.SkipASN1(asn1.INTEGER) && pfx.SkipASN1(asn1.SEQUENCE) &&
		pfx.ReadASN1(&mac, asn1.SEQUENCE) && mac.SkipASN1(asn1.SEQUENCE) && mac.SkipASN1(asn1.OCTET_STRING) &&
		!mac.Empty() {
		s.iterations(mac)
	}
}

// iterations takes note of the number that rest begins with.
func (s *pkcs12Survey) iterations(rest cryptobyte.String) {
	var n int64
	if rest.ReadASN1Integer(&n) {
		s.most = max(s.most, n)
	}
}
