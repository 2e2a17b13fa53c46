package keystore

import (
	"cmp"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
)

// algorithmNames is what keys of other algorithms than RSA, ECDSA and Ed25519
// are called, by object identifier.
var algorithmNames = map[string]string{
	"1.2.840.10040.4.1":       "DSA",
	"1.2.840.113549.1.1.10":   "RSA-PSS",
	"1.2.840.113549.1.3.1":    "DH",
	"1.3.101.110":             "X25519",
	"1.3.101.111":             "X448",
	"1.3.101.113":             "Ed448",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

// oidECKey is of keys on elliptic curves (RFC 5480, 2.1.1), whose parameter is
// the curve.
var oidECKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}

// usableAlgorithms are those whose keys can be read: one that cannot be is
// damaged.
var usableAlgorithms = map[string]bool{
	"1.2.840.113549.1.1.1": true, // RSA
	"1.3.101.112":          true, // Ed25519
	"1.3.132.0.33":         true, // the NIST curves
	"1.2.840.10045.3.1.7":  true,
	"1.3.132.0.34":         true,
	"1.3.132.0.35":         true,
}

// foreignAlgorithm says of a private key in PKCS#8 (RFC 5958, 2) which algorithm
// it is of, if that is none that can be used, else "".
func foreignAlgorithm(der []byte) string {
	var key struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	// Attributes and a public key may follow; they are passed over.
	if unmarshal(der, &key) != nil {
		return ""
	}
	kind, oid := "", key.Algorithm.Algorithm
	if oid.Equal(oidECKey) {
		kind = "ECDSA on curve "
		if unmarshal(key.Algorithm.Parameters.FullBytes, &oid) != nil {
			return ""
		}
	}
	if usableAlgorithms[oid.String()] {
		return ""
	}
	return cmp.Or(algorithmNames[oid.String()], kind+oid.String())
}

// unusable is the error for a private key of a certain kind.
func unusable(kind string) error {
	return fmt.Errorf("the private key is %s, which TLS here cannot use; make one of ECDSA P-256, RSA or Ed25519", kind)
}
