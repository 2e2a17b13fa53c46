package policy_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"sallyport/policy"
)

// FuzzInput asks about whatever certificate and names a peer may come with. A
// policy that wants to see its input must see it, and as it is.
func FuzzInput(f *testing.F) {
	f.Add(peer(f, alice).PeerCertificates[0].Raw, "service.test", "h2", []byte{192, 0, 2, 7})
	f.Add([]byte{0x30, 0}, "\x00\xff", "\"}", []byte{})
	p := load(f, file(f, `package access
allow {
	is_object(input.certificate)
	is_string(input.certificate.Raw)
	is_string(input.tls.sni)
	is_string(input.tls.alpn)
	input.tls.version == "TLS 1.3"
	is_string(input.remote)
	count(input) == 4
}`), query)
	f.Fuzz(func(t *testing.T, der []byte, sni, alpn string, ip []byte) {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			certificate = new(x509.Certificate)
			certificate.Raw = der
			certificate.Subject.CommonName = sni
			certificate.DNSNames = []string{sni, alpn}
		}
		state := tls.ConnectionState{
			Version: tls.VersionTLS13, ServerName: sni, NegotiatedProtocol: alpn,
			PeerCertificates: []*x509.Certificate{certificate},
			VerifiedChains:   [][]*x509.Certificate{{certificate}},
		}
		// What JSON cannot say, such as a year of five digits, is an error.
		refusal := p.Authorizer(&net.TCPAddr{IP: ip, Port: 1})(state)
		if reason(t, refusal) == policy.ReasonDenied {
			t.Errorf("the input is not what it should be: %v", refusal)
		}
	})
}
