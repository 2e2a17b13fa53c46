package webproxy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
)

// clientCert describes a client's certificate as Envoy does in X-Forwarded-Client-Cert: its SHA-256, its subject as RFC 2253
// writes it, and its URIs and DNS names.
func clientCert(certificate *x509.Certificate) string {
	var b strings.Builder
	hash := sha256.Sum256(certificate.Raw)
	b.WriteString("Hash=" + hex.EncodeToString(hash[:]))
	b.WriteString(`;Subject="`)
	subject := certificate.Subject.String() // quotes and backslashes have a backslash before them
	for i := range len(subject) {
		writeVisible(&b, subject[i])
	}
	b.WriteByte('"')
	for _, uri := range certificate.URIs {
		b.WriteString(";URI=" + quoted(uri.String(), isPlain))
	}
	for _, name := range certificate.DNSNames {
		b.WriteString(";DNS=" + quoted(name, isPlain))
	}
	return b.String()
}

// isPlain reports whether a byte means nothing by itself in X-Forwarded-Client-Cert.
func isPlain(c byte) bool {
	return ' ' < c && c <= '~' && strings.IndexByte(`,;="\`, c) < 0
}
