package header

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

// signature is that of version 2 as section 2.2 writes it.
const signature = "0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A"

// unhex reads bytes as the specification writes them; whoever reads the test wants to see where one field ends.
func unhex(t testing.TB, text ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(text, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// field is the 108 bytes of a UNIX address.
func field(path string) string {
	return hex.EncodeToString([]byte(path)) + strings.Repeat("00", 108-len(path))
}

func tcp(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

func unix(name string) net.Addr { return &net.UnixAddr{Net: "unix", Name: name} }

func TestHeadersAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "web"}, Raw: []byte{0x30, 0x03, 0x02, 0x01, 0x01}}
	nameless := &x509.Certificate{Raw: []byte{0x30, 0x00}}
	const addresses = "C0 00 02 01 C6 33 64 02 D4 31 01 BB" // 192.0.2.1:54321 to 198.51.100.2:443
	tests := []struct {
		name                string
		make                func(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error)
		source, destination net.Addr
		session             *tls.ConnectionState
		want                []string
	}{
		{
			name: "TCP over IPv4", make: Conn,
			source: tcp("192.0.2.1:54321"), destination: tcp("198.51.100.2:443"),
			session: &tls.ConnectionState{Version: tls.VersionTLS13},
			want:    []string{signature, "21 11 00 0C", addresses},
		},
		{
			name: "TCP over IPv6", make: Conn,
			source: tcp("[2001:db8::1]:1"), destination: tcp("[fe80::2%eth0]:65535"),
			want: []string{
				signature, "21 21 00 24",
				"20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 01",
				"FE 80 00 00 00 00 00 00 00 00 00 00 00 00 00 02",
				"00 01 FFFF",
			},
		},
		{
			name: "a listener for both families tells of IPv4 as mapped into IPv6", make: Conn,
			source: tcp("192.0.2.1:54321"), destination: tcp("[::ffff:198.51.100.2]:443"),
			want: []string{signature, "21 11 00 0C", addresses},
		},
		{
			name: "both mapped", make: Conn,
			source: tcp("[::ffff:192.0.2.1]:54321"), destination: tcp("[::ffff:198.51.100.2]:443"),
			want: []string{signature, "21 11 00 0C", addresses},
		},
		{
			name: "IPv4 to IPv6", make: Conn,
			source: tcp("192.0.2.1:54321"), destination: tcp("[::1]:443"),
			want: []string{
				signature, "21 21 00 24",
				"00 00 00 00 00 00 00 00 00 00 FFFF C0 00 02 01",
				"00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01",
				"D4 31 01 BB",
			},
		},
		{
			name: "UNIX, by a client without a name", make: Conn,
			source: unix(""), destination: unix("/run/sallyport.sock"),
			want: []string{signature, "21 31 00 D8", field(""), field("/run/sallyport.sock")},
		},
		{
			name: "UNIX, with the longest path", make: Conn,
			source: unix("/run/client"), destination: unix("/" + strings.Repeat("p", 107)),
			want: []string{signature, "21 31 00 D8", field("/run/client"), field("/" + strings.Repeat("p", 107))},
		},
		{
			name: "TLS without names", make: TLS,
			source: tcp("192.0.2.1:54321"), destination: tcp("198.51.100.2:443"),
			session: &tls.ConnectionState{Version: tls.VersionTLS12, PeerCertificates: []*x509.Certificate{client}},
			want: []string{
				signature, "21 11 00 1E", addresses,
				"20 00 0F", "01 00 00 00 00", "21 00 07 54 4C 53 20 31 2E 32",
			},
		},
		{
			name: "TLS with ALPN and SNI", make: TLS,
			source: tcp("192.0.2.1:54321"), destination: tcp("198.51.100.2:443"),
			session: &tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: "h2", ServerName: "a.example"},
			want: []string{
				signature, "21 11 00 2F", addresses,
				"01 00 02 68 32",
				"02 00 09 61 2E 65 78 61 6D 70 6C 65",
				"20 00 0F", "01 00 00 00 00", "21 00 07 54 4C 53 20 31 2E 33",
			},
		},
		{
			name: "TLS with the client's certificate", make: TLSFull,
			source: tcp("192.0.2.1:54321"), destination: tcp("198.51.100.2:443"),
			session: &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{client}},
			want: []string{
				signature, "21 11 00 2C", addresses,
				"20 00 1D", "07 00 00 00 00", "21 00 07 54 4C 53 20 31 2E 33", "22 00 03 77 65 62", "28 00 05 30 03 02 01 01",
			},
		},
		{
			name: "a certificate without a common name", make: TLSFull,
			source: tcp("192.0.2.1:54321"), destination: tcp("198.51.100.2:443"),
			session: &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{nameless}},
			want: []string{
				signature, "21 11 00 23", addresses,
				"20 00 14", "07 00 00 00 00", "21 00 07 54 4C 53 20 31 2E 33", "28 00 02 30 00",
			},
		},
		{
			name: "no client certificate", make: TLSFull,
			source: tcp("192.0.2.1:54321"), destination: tcp("198.51.100.2:443"),
			session: &tls.ConnectionState{Version: tls.VersionTLS13},
			want: []string{
				signature, "21 11 00 1E", addresses,
				"20 00 0F", "01 00 00 00 00", "21 00 07 54 4C 53 20 31 2E 33",
			},
		},
		{
			name: "TLS over UNIX", make: TLS,
			source: unix(""), destination: unix("s"),
			session: &tls.ConnectionState{Version: tls.VersionTLS13},
			want: []string{
				signature, "21 31 00 EA", field(""), field("s"),
				"20 00 0F", "01 00 00 00 00", "21 00 07 54 4C 53 20 31 2E 33",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.make(tt.source, tt.destination, tt.session)
			if want := unhex(t, tt.want...); err != nil || string(got) != string(want) {
				t.Errorf("error %v, header\n\t%x, want\n\t%x", err, got, want)
			}
		})
	}
	if got, want := Local(), unhex(t, signature, "20 00 00 00"); string(got) != string(want) {
		t.Errorf("the local header is %x, want %x", got, want)
	}
}

// Linux has abstract names, and net writes the zero byte that they begin with as an @.
// Where there is no TLS, as in client mode, there is nothing to tell of it.
func TestWithoutASessionTheAddressesAreTold(t *testing.T) {
	t.Parallel()
	from, to := tcp("192.0.2.1:56324"), tcp("198.51.100.2:443")
	want, err := Conn(from, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(net.Addr, net.Addr, *tls.ConnectionState) ([]byte, error){"TLS": TLS, "TLSFull": TLSFull} {
		if got, err := write(from, to, nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v; want %x", name, got, err, want)
		}
	}
}

func TestAbstractNames(t *testing.T) {
	t.Parallel()
	name := field("@name")
	unnamed := field("@")
	if runtime.GOOS == "linux" {
		name, unnamed = field("\x00name"), field("")
	}
	got, err := Conn(unix("@"), unix("@name"), nil)
	if want := unhex(t, signature, "21 31 00 D8", unnamed, name); err != nil || string(got) != string(want) {
		t.Errorf("error %v, header\n\t%x, want\n\t%x", err, got, want)
	}
}

func TestHeadersThatCannotBeMade(t *testing.T) {
	t.Parallel()
	session := func(der int) *tls.ConnectionState {
		return &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{{Raw: make([]byte, der)}}}
	}
	// What stands around a certificate: addresses, the SSL TLV with its fixed part and the version, and the certificate's own.
	const around = 12 + 3 + 5 + 10 + 3
	from, to := tcp("192.0.2.1:1"), tcp("192.0.2.2:2")
	longest, err := TLSFull(from, to, session(65535-around))
	if err != nil || len(longest) != 16+65535 || string(longest[14:16]) != "\xff\xff" {
		t.Errorf("the longest header is of %d bytes, error %v, want %d", len(longest), err, 16+65535)
	}
	tests := []struct {
		name                string
		source, destination net.Addr
		der                 int
		want                string
	}{
		{"one byte too long", from, to, 65536 - around, "longer than 65535 bytes"},
		{"a TLV that is too long", from, to, 65535, "longer than 65535 bytes"},
		{"a certificate that is too long", from, to, 65536, "longer than 65535 bytes"},
		{"addresses of two kinds", from, unix("/run/s"), 1, "no PROXY header can tell of a connection from 192.0.2.1:1 (tcp) to /run/s (unix)"},
		{"an address of no kind", &net.IPAddr{IP: net.IPv6loopback}, to, 1, "no PROXY header can tell"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := TLSFull(tt.source, tt.destination, session(tt.der))
			if err == nil || !strings.Contains(err.Error(), tt.want) || got != nil {
				t.Errorf("%d bytes, error %v, want none and %q", len(got), err, tt.want)
			}
		})
	}
}
