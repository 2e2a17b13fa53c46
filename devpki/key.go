package devpki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
)

// KeyKind is a kind of private key. The zero value is ECDSA with P-256.
type KeyKind int

// The kinds of key that TLS peers have in common.
const (
	ECDSAP256 KeyKind = iota
	ECDSAP384
	RSA2048
	Ed25519
)

// String is the kind's name: "ECDSA P-256".
func (k KeyKind) String() string {
	switch k {
	case ECDSAP256:
		return "ECDSA P-256"
	case ECDSAP384:
		return "ECDSA P-384"
	case RSA2048:
		return "RSA 2048"
	case Ed25519:
		return "Ed25519"
	}
	return fmt.Sprintf("KeyKind(%d)", int(k))
}

func (k KeyKind) generate() (crypto.Signer, error) {
	switch k {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("no such kind of key: %v", k)
}
