package auth

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Pin is the digest of a public key: of the SubjectPublicKeyInfo in a
// certificate (RFC 5280, 4.1), in DER. As text it is the name of a digest, a
// colon, and the digest in base64 (RFC 4648, 4):
//
//	sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
//
// The zero value matches no key. Pins are comparable with ==.
type Pin struct {
	algorithm string // one of pinAlgorithms' names
	digest    string // as many bytes as the algorithm gives
}

// pinAlgorithms is what a pin can be made with.
var pinAlgorithms = []struct {
	name string
	size int
	sum  func(spki []byte) []byte
}{
	{"sha256", sha256.Size, func(spki []byte) []byte { sum := sha256.Sum256(spki); return sum[:] }},
	{"sha384", sha512.Size384, func(spki []byte) []byte { sum := sha512.Sum384(spki); return sum[:] }},
	{"sha512", sha512.Size, func(spki []byte) []byte { sum := sha512.Sum512(spki); return sum[:] }},
}

// PinOf is the SHA-256 pin of a certificate's public key.
func PinOf(cert *x509.Certificate) Pin {
	digest := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return Pin{algorithm: "sha256", digest: string(digest[:])}
}

// ParsePin reads a pin. The name of the digest may be in any case. Its errors
// say what is wrong with the text.
func ParsePin(text string) (Pin, error) {
	name, encoded, ok := strings.Cut(text, ":")
	if !ok {
		return Pin{}, errors.New("not a pin; write sha256:BASE64, the digest of a public key")
	}
	name = strings.ToLower(name)
	for _, algorithm := range pinAlgorithms {
		if algorithm.name != name {
			continue
		}
		digest, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder passes over
			return Pin{}, fmt.Errorf("the digest is not in base64; write %s:BASE64, with its padding", name)
		}
		if len(digest) != algorithm.size {
			return Pin{}, fmt.Errorf("the digest has %d bytes and should have %d; write it in base64, not in hexadecimal", len(digest), algorithm.size)
		}
		return Pin{algorithm: name, digest: string(digest)}, nil
	}
	return Pin{}, fmt.Errorf("no pins are made with %q; use sha256, sha384 or sha512", name)
}

// Match reports whether cert has the pinned public key. How long that takes
// does not depend on how much of the digest is right.
func (p Pin) Match(cert *x509.Certificate) bool {
	for _, algorithm := range pinAlgorithms {
		if algorithm.name == p.algorithm {
			return subtle.ConstantTimeCompare(algorithm.sum(cert.RawSubjectPublicKeyInfo), []byte(p.digest)) == 1
		}
	}
	return false
}

// String is the pin as text, its name in small letters; empty for the zero
// value.
func (p Pin) String() string {
	if p.algorithm == "" {
		return ""
	}
	return p.algorithm + ":" + base64.StdEncoding.EncodeToString([]byte(p.digest))
}

// MarshalText gives what [Pin.UnmarshalText] takes. The zero value is an error.
func (p Pin) MarshalText() ([]byte, error) {
	if p.algorithm == "" {
		return nil, errors.New("empty pin")
	}
	return []byte(p.String()), nil
}

// UnmarshalText is [ParsePin].
func (p *Pin) UnmarshalText(text []byte) error {
	parsed, err := ParsePin(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// Pins lets in peers whose own certificate has one of the pinned public keys,
// and nobody without a pin. Whoever holds a pinned private key is let in: of the
// certificate around the key nothing counts, neither who issued it nor its dates
// and names. So it is the one Authorizer that is for peers whose chain has not
// been verified; the TLS handshake has them prove that the key is theirs.
//
// Its error is a [*PinError].
func Pins(pins ...Pin) Authorizer {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return &PinError{}
		}
		matched := false
		for _, pin := range pins {
			matched = pin.Match(cs.PeerCertificates[0]) || matched
		}
		if !matched {
			return &PinError{Identity: Identity(cs), Shown: PinOf(cs.PeerCertificates[0])}
		}
		return nil
	}
}

// PinError is the refusal of a peer whose public key is not pinned.
type PinError struct {
	// Identity is what the peer's certificate says it is, as [Identity] has it.
	// Nobody has verified that.
	Identity string

	// Shown is the pin of the key that it showed; zero if it showed none.
	Shown Pin
}

// Error tells the pin of the key that was shown, which is what to compare.
func (e *PinError) Error() string {
	if e.Shown == (Pin{}) {
		return "no certificate, so that there is no key to compare with the pins"
	}
	return fmt.Sprintf("the public key of %q is not pinned; its pin is %s", e.Identity, e.Shown)
}

// Reason is [ReasonPinMismatch], or [ReasonNoCertificate] where nothing was
// shown.
func (e *PinError) Reason() string {
	if e.Shown == (Pin{}) {
		return ReasonNoCertificate
	}
	return ReasonPinMismatch
}
