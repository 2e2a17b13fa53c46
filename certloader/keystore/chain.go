package keystore

import (
	"bytes"
	"crypto/x509"
	"slices"
)

// chainOf returns leaf, then its issuers in certs, then theirs, and so on. All
// else in certs is left out. Names and key identifiers decide, not signatures,
// which are for the peer to check.
func chainOf(leaf *x509.Certificate, certs []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for i := 0; i < len(chain); i++ {
		for _, cert := range certs {
			if issued(cert, chain[i]) && !slices.ContainsFunc(chain, cert.Equal) {
				chain = append(chain, cert)
			}
		}
	}
	return chain
}

// issued reports whether parent can be the issuer of child (RFC 4158, 3.5.12).
func issued(parent, child *x509.Certificate) bool {
	if !bytes.Equal(parent.RawSubject, child.RawIssuer) {
		return false
	}
	return len(parent.SubjectKeyId) == 0 || len(child.AuthorityKeyId) == 0 ||
		bytes.Equal(parent.SubjectKeyId, child.AuthorityKeyId)
}
