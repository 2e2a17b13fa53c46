package header

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"runtime"
	"strings"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// Local returns the header of a connection that speaks for nobody, such as a health check.
func Local() []byte {
	return []byte(signature2 + "\x20\x00\x00\x00")
}

// Conn returns a header with addresses alone: from where a client connected, and to where. Both are *net.TCPAddr, or both
// *net.UnixAddr. An IPv4 address beside one of IPv6 is written as the latter.
func Conn(source, destination net.Addr, _ *tls.ConnectionState) ([]byte, error) {
	return format(source, destination, nil)
}

// TLS returns a header that tells of the client's TLS session too: its version, and the host name and the protocol if they
// were negotiated. A nil session is no session.
func TLS(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error) {
	return withSession(source, destination, session, nil)
}

// TLSFull returns a header that tells of the client's certificate too, if there is one: its common name, and all of it in DER.
func TLSFull(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error) {
	var certificate *x509.Certificate
	if session != nil && len(session.PeerCertificates) > 0 {
		certificate = session.PeerCertificates[0]
	}
	return withSession(source, destination, session, certificate)
}

// withSession adds what there is to tell of a session, and of a certificate unless it is nil.
func withSession(source, destination net.Addr, session *tls.ConnectionState, certificate *x509.Certificate) ([]byte, error) {
	if session == nil {
		return format(source, destination, nil)
	}
	var tlvs []proxyproto.TLV
	if session.NegotiatedProtocol != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_ALPN, Value: []byte(session.NegotiatedProtocol)})
	}
	if session.ServerName != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(session.ServerName)})
	}
	about := tlvparse.PP2SSL{
		Client: tlvparse.PP2_BITFIELD_CLIENT_SSL,
		TLV: []proxyproto.TLV{
			{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte(tls.VersionName(session.Version))},
		},
	}
	if certificate != nil {
		about.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN | tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
		if name := strings.ToValidUTF8(certificate.Subject.CommonName, "\uFFFD"); name != "" {
			about.TLV = append(about.TLV, proxyproto.TLV{Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte(name)})
		}
		about.TLV = append(about.TLV, proxyproto.TLV{Type: proxyproto.PP2_SUBTYPE_SSL_CLIENT_CERT, Value: certificate.Raw})
	}
	ssl, err := about.Marshal()
	if err != nil {
		return nil, tooLong(err)
	}
	return format(source, destination, append(tlvs, ssl))
}

// format writes a header.
func format(source, destination net.Addr, tlvs []proxyproto.TLV) ([]byte, error) {
	h := proxyproto.HeaderProxyFromAddrs(2, sockaddr(source), sockaddr(destination))
	if h.TransportProtocol.IsUnspec() {
		return nil, fmt.Errorf("no PROXY header can tell of a connection from %v (%s) to %v (%s)",
			source, source.Network(), destination, destination.Network())
	}
	if err := h.SetTLVs(tlvs); err != nil {
		return nil, tooLong(err)
	}
	text, err := h.Format()
	if err != nil {
		return nil, tooLong(err)
	}
	return text, nil
}

// tooLong says what an error of the formatter comes from: every length is of 16 bits, and of all that is told a certificate
// alone can be longer.
func tooLong(err error) error {
	return fmt.Errorf("the PROXY header would be longer than 65535 bytes: %w", err)
}

// sockaddr is an address as the system has it. Where Linux has an abstract name, with a zero byte before it, or none at all,
// net has an "@".
func sockaddr(a net.Addr) net.Addr {
	unix, ok := a.(*net.UnixAddr)
	if !ok || runtime.GOOS != "linux" || !strings.HasPrefix(unix.Name, "@") {
		return a
	}
	return &net.UnixAddr{Net: unix.Net, Name: strings.TrimRight("\x00"+unix.Name[1:], "\x00")}
}
