package auth

import (
	"crypto/tls"
	"strings"
)

// maxIdentity bounds a name in bytes: a peer that is refused must not be able to
// fill the log with it.
const maxIdentity = 256

// Identity is a short name of the connection's peer for logs: its first URI
// SAN, else its common name, else its first DNS SAN, else its serial number (in
// hexadecimal); empty if it showed no certificate. The peer chose it, so it may
// hold anything: quote it where it is printed, and decide nothing by it. What is
// longer than 256 bytes is cut, and ends in an ellipsis.
func Identity(cs tls.ConnectionState) string {
	if len(cs.PeerCertificates) == 0 {
		return ""
	}
	cert := cs.PeerCertificates[0]
	switch {
	case len(cert.URIs) > 0:
		return cut(cert.URIs[0].String())
	case cert.Subject.CommonName != "":
		return cut(cert.Subject.CommonName)
	case len(cert.DNSNames) > 0:
		return cut(cert.DNSNames[0])
	}
	return cut("serial " + cert.SerialNumber.Text(16))
}

// cut ends a long name, between two of its characters.
func cut(name string) string {
	if len(name) <= maxIdentity {
		return name
	}
	return strings.ToValidUTF8(name[:maxIdentity], "") + "…"
}
