package certloader

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// errMismatch reads on "… in FILE".
var errMismatch = errors.New("the private key fits no certificate")

// newIdentity makes an identity of a chain and its key. The certificate that
// the key fits is the leaf; it is moved to the front if need be, where TLS
// wants it (RFC 8446, 4.4.2).
func newIdentity(chain []*x509.Certificate, key crypto.Signer) (*tls.Certificate, error) {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("a private key of type %T cannot be used in TLS", key)
	}
	index := slices.IndexFunc(chain, func(cert *x509.Certificate) bool { return public.Equal(cert.PublicKey) })
	if index < 0 {
		return nil, errMismatch
	}
	leaf := chain[index]
	identity := &tls.Certificate{
		Certificate: [][]byte{leaf.Raw},
		PrivateKey:  key,
		Leaf:        leaf,
	}
	for i, cert := range chain {
		if i != index {
			identity.Certificate = append(identity.Certificate, cert.Raw)
		}
	}
	return identity, nil
}

// signer narrows a parsed private key to what TLS can use.
func signer(key crypto.PrivateKey) (crypto.Signer, error) {
	signing, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of type %T cannot sign", key)
	}
	return signing, nil
}
