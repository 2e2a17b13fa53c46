package header

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"
)

// Whatever comes, Read takes a header or refuses it, reads not beyond it, and tells what a header says that is made of what it
// told.
func FuzzRead(f *testing.F) {
	for _, tt := range goodHeaders {
		f.Add([]byte(tt.header + "rest"))
	}
	f.Add([]byte(withChecksum(v2("21 11 00 13", addresses4))))
	f.Add([]byte(v2("21 21 FFFF", addresses6)))
	f.Fuzz(func(t *testing.T, data []byte) {
		from := bytes.NewReader(data)
		source, destination, err := Read(from)
		taken := data[:len(data)-from.Len()]
		if err != nil {
			if !errors.As(err, new(*Error)) && !(errors.Is(err, ErrNothing) && len(data) == 0) {
				t.Fatalf("of %q: %v", data, err)
			}
			if source != nil || destination != nil {
				t.Fatalf("%q is refused and tells of %v to %v", taken, source, destination)
			}
			return
		}
		if does, _ := Starts(taken); !does {
			t.Fatalf("%q is a header, and does not start as one", taken)
		}
		if again, _, err := Read(bytes.NewReader(taken)); err != nil || told(again) != told(source) {
			t.Fatalf("%q alone tells of %v, error %v", taken, again, err)
		}
		if (source == nil) != (destination == nil) {
			t.Fatalf("%q tells of %v to %v", taken, source, destination)
		}
		if source == nil {
			return
		}
		written, err := Conn(source, destination, nil)
		if err != nil {
			t.Fatalf("%q tells of %v to %v, of which no header can be made: %v", taken, source, destination, err)
		}
		source2, destination2, err := Read(bytes.NewReader(written))
		if err != nil || told(source2) != told(source) || told(destination2) != told(destination) {
			t.Fatalf("%q tells of %v to %v, what is made of that of %v to %v, error %v", taken, source, destination, source2, destination2, err)
		}
	})
}

// What go-proxyproto writes is read, in both versions and whatever TLVs it has.
func FuzzReadWhatOthersWrite(f *testing.F) {
	f.Add([]byte{192, 0, 2, 1}, []byte{198, 51, 100, 2}, uint16(54321), uint16(443), true, byte(1), []byte("h2"))
	f.Add(make([]byte, 16), bytes.Repeat([]byte{0xff}, 16), uint16(0), uint16(65535), false, byte(0xea), []byte{})
	f.Add([]byte("/run/client"), []byte("/run/listen"), uint16(0), uint16(0), true, byte(0x20), make([]byte, 5))
	f.Fuzz(func(t *testing.T, from, to []byte, sourcePort, destinationPort uint16, version2 bool, kind byte, value []byte) {
		version := byte(1)
		if version2 {
			version = 2
		}
		end := func(b []byte, port uint16) net.Addr {
			if ip, ok := netip.AddrFromSlice(b); ok {
				return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
			}
			name, _, _ := strings.Cut(string(b[:min(len(b), 108)]), "\x00")
			return &net.UnixAddr{Net: "unix", Name: strings.TrimPrefix(name, "@")}
		}
		h := proxyproto.HeaderProxyFromAddrs(version, end(from, sourcePort), end(to, destinationPort))
		if kind == typeCRC32C {
			return // it would be of nothing
		}
		if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2Type(kind), Value: value}}); err != nil {
			return
		}
		text, err := h.Format()
		if err != nil {
			return
		}
		rest := bytes.NewReader(append(text, "rest"...))
		source, destination, err := Read(rest)
		if err != nil || rest.Len() != len("rest") {
			t.Fatalf("of %q: %v, with %d bytes left", text, err, rest.Len())
		}
		if h.TransportProtocol.IsUnspec() || version == 1 && h.TransportProtocol == proxyproto.UnixStream {
			if source != nil || destination != nil {
				t.Fatalf("%q tells of %v to %v", text, source, destination)
			}
			return
		}
		if told(source) != told(h.SourceAddr) || told(destination) != told(h.DestinationAddr) {
			t.Fatalf("%q tells of %v to %v, want %v to %v", text, source, destination, h.SourceAddr, h.DestinationAddr)
		}
	})
}

// What is written can be read by others, TLVs included, and by Read.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{192, 0, 2, 1}, []byte{198, 51, 100, 2}, uint16(1), uint16(2), "h2", "a.example")
	f.Add(make([]byte, 16), []byte{127, 0, 0, 1}, uint16(0), uint16(65535), "", "")
	f.Fuzz(func(t *testing.T, from, to []byte, sourcePort, destinationPort uint16, protocol, name string) {
		source, ok1 := netip.AddrFromSlice(from)
		destination, ok2 := netip.AddrFromSlice(to)
		if !ok1 || !ok2 {
			return
		}
		session := &tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: protocol, ServerName: name}
		a := net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, sourcePort))
		b := net.TCPAddrFromAddrPort(netip.AddrPortFrom(destination, destinationPort))
		text, err := TLS(a, b, session)
		if err != nil {
			if len(protocol)+len(name) < 65000 {
				t.Fatal(err)
			}
			return
		}
		x, y, err := Read(bytes.NewReader(text))
		if err != nil || told(x) != a.String() || told(y) != b.String() {
			t.Fatalf("%q tells of %v to %v, error %v, want %v to %v", text, x, y, err, a, b)
		}
	})
}
