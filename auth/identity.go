package auth

import (
	"crypto/tls"

	"sallyport/internal/peertext"
)

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
		return peertext.Cut(cert.URIs[0].String())
	case cert.Subject.CommonName != "":
		return peertext.Cut(cert.Subject.CommonName)
	case len(cert.DNSNames) > 0:
		return peertext.Cut(cert.DNSNames[0])
	}
	return peertext.Cut("serial " + cert.SerialNumber.Text(16))
}
