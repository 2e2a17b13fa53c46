package policy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/open-policy-agent/opa/v1/ast"
)

// input is what a policy is asked about.
type input struct {
	Certificate *x509.Certificate `json:"certificate"`
	TLS         session           `json:"tls"`
	Remote      string            `json:"remote"`
	RemoteIP    *netip.Addr       `json:"remote_ip,omitempty"`
}

// session is what the two sides have agreed on.
type session struct {
	Version string `json:"version"`
	SNI     string `json:"sni"`
	ALPN    string `json:"alpn"`
	Cipher  string `json:"cipher"`
}

// newInput describes a connection with a peer certificate. Remote may be nil.
func newInput(cs tls.ConnectionState, remote net.Addr) (ast.Value, error) {
	in := input{
		Certificate: cs.PeerCertificates[0],
		TLS: session{
			Version: tls.VersionName(cs.Version),
			SNI:     cs.ServerName,
			ALPN:    cs.NegotiatedProtocol,
			Cipher:  tls.CipherSuiteName(cs.CipherSuite),
		},
	}
	if remote != nil {
		in.Remote = remote.String()
	}
	if tcp, ok := remote.(*net.TCPAddr); ok {
		// As a policy would write it: neither mapped into IPv6 nor with the zone
		// of an interface, which no network is said to contain.
		ip := tcp.AddrPort().Addr().Unmap().WithZone("")
		in.RemoteIP = &ip
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be written as JSON: %w", err)
	}
	value, err := ast.ValueFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate as JSON: %w", err)
	}
	return value, nil
}
