package keystore

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
)

// Pair makes an identity of certificates and a key. The certificate that the key
// fits is the leaf, and its issuers follow it, as TLS wants them (RFC 8446,
// 4.4.2), in whatever order they come. Certificates that have no part in that
// chain come last, as given. [ErrMismatch] is that there is no leaf. A key that
// crypto/tls has no signatures for is an error too.
func Pair(certs []*x509.Certificate, key crypto.Signer) (*tls.Certificate, error) {
	leaf, err := leafOf(certs, key)
	if err != nil {
		return nil, err
	}
	identity := &tls.Certificate{PrivateKey: key, Leaf: leaf}
	chain := chainOf(leaf, certs)
	for _, cert := range certs {
		if !slices.ContainsFunc(chain, cert.Equal) {
			chain = append(chain, cert)
		}
	}
	for _, cert := range chain {
		identity.Certificate = append(identity.Certificate, cert.Raw)
	}
	return identity, nil
}

// leafOf returns the first of certs that the key fits.
func leafOf(certs []*x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("a private key of type %T cannot be used in TLS", key)
	}
	// No version of TLS that is spoken here has signatures on it (RFC 8446, 4.2.3).
	if ec, ok := key.Public().(*ecdsa.PublicKey); ok && ec.Curve == elliptic.P224() {
		return nil, unusable("ECDSA P-224")
	}
	index := slices.IndexFunc(certs, func(cert *x509.Certificate) bool { return public.Equal(cert.PublicKey) })
	if index < 0 {
		return nil, ErrMismatch
	}
	return certs[index], nil
}

// signer narrows a parsed private key to what TLS can use.
func signer(key crypto.PrivateKey) (crypto.Signer, error) {
	if _, ok := key.(*ecdh.PrivateKey); ok { // the NIST curves' come as ECDSA
		return nil, unusable("X25519")
	}
	signing, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of type %T cannot sign", key)
	}
	return signing, nil
}
