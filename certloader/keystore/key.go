package keystore

import (
	"crypto"
	"crypto/x509"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var errNoKey = errors.New("not a private key in PKCS#8, PKCS#1 or SEC 1")

// parsePrivateKey reads a private key by its content: PKCS#8, encrypted or not,
// PKCS#1 or SEC 1. A key that is not encrypted needs no password.
func parsePrivateKey(der []byte, password string) (crypto.Signer, error) {
	input := cryptobyte.String(der)
	var key cryptobyte.String
	if !input.ReadASN1(&key, asn1.SEQUENCE) || !input.Empty() {
		return nil, errNoKey
	}
	// An EncryptedPrivateKeyInfo alone begins with no version, but with its
	// algorithm (RFC 5958, 3).
	if key.PeekASN1Tag(asn1.SEQUENCE) {
		plain, err := decryptPKCS8(der, password)
		if err != nil {
			return nil, err
		}
		signing, err := parsePlainKey(plain)
		if errors.Is(err, errNoKey) {
			err = ErrPasswordOrDamage
		}
		return signing, err
	}
	return parsePlainKey(der)
}

// parsePlainKey reads a private key that is not encrypted, or no longer.
func parsePlainKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if kind := foreignAlgorithm(der); kind != "" {
			return nil, unusable(kind)
		}
		return nil, errNoKey
	}
	return signer(key)
}

// unpad removes the padding of RFC 8018, 6.1.1, step 4 from what a block cipher
// has decrypted: a block at least. It reports false if there is none, as after a
// wrong password.
func unpad(plain []byte, blockSize int) ([]byte, bool) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > blockSize {
		return nil, false
	}
	text, padding := plain[:len(plain)-n], plain[len(plain)-n:]
	return text, !slices.ContainsFunc(padding, func(b byte) bool { return int(b) != n })
}
