package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// parsePKCS12 reads a PKCS#12 keystore (RFC 7292) that holds one key with its
// chain.
func parsePKCS12(data []byte, password string) (*tls.Certificate, error) {
	key, first, others, err := pkcs12.DecodeChain(data, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return nil, errors.New("wrong password; give the right one by --storepass or --storepass-file")
	case err != nil:
		return nil, fmt.Errorf("not a PKCS#12 keystore, or a damaged one: %w", err)
	}
	signing, err := signer(key)
	if err != nil {
		return nil, err
	}
	return newIdentity(append([]*x509.Certificate{first}, others...), signing)
}
