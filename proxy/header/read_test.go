package header

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// The headers that follow are written by the specification. Addresses is 192.0.2.1:54321 to 198.51.100.2:443.
const addresses4 = "C0 00 02 01 C6 33 64 02 D4 31 01 BB"

const addresses6 = "20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 01 20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 02 00 01 FFFF"

// goodHeaders are headers with what they tell; "" is nothing.
var goodHeaders = []struct {
	name                string
	header              string
	source, destination string
}{
	{"v1 TCP4", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", "192.168.0.11:443"},
	{"v1 TCP4, the longest", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", "255.255.255.255:65535"},
	{"v1 TCP4, the shortest", "PROXY TCP4 1.1.1.1 0.0.0.0 1 0\r\n", "1.1.1.1:1", "0.0.0.0:0"},
	{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:DB8::2 1 65535\r\n", "[2001:db8::1]:1", "[2001:db8::2]:65535"},
	{
		"v1 TCP6, the longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	},
	{"v1 TCP6, mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1:1", "[::1]:2"},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", "", ""},
	{
		"v1 UNKNOWN, the longest", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"", "",
	},
	{"v1 UNKNOWN, with anything", "PROXY UNKNOWN \x00 what ever \xff\r\n", "", ""},

	{"v2 TCP over IPv4", v2("21 11 00 0C", addresses4), "192.0.2.1:54321", "198.51.100.2:443"},
	{"v2 TCP over IPv6", v2("21 21 00 24", addresses6), "[2001:db8::1]:1", "[2001:db8::2]:65535"},
	{"v2 UNIX", v2("21 31 00 D8", field("/run/client"), field("/run/listen")), "/run/client", "/run/listen"},
	{"v2 UNIX, the longest", v2("21 31 00 D8", field(""), field("/"+strings.Repeat("p", 107))), "", "/" + strings.Repeat("p", 107)},
	{"v2 with TLVs of every kind", v2(
		"21 11 00 38", addresses4, "01 00 02 68 32", "02 00 01 61", "04 00 00", "05 00 02 69 64",
		"20 00 0F 01 00 00 00 00 21 00 07 54 4C 53 20 31 2E 33", "EA 00 01 00", "30 00 02 6E 73",
	), "192.0.2.1:54321", "198.51.100.2:443"},
	{"v2 local", v2("20 00 00 00"), "", ""},
	{"v2 local with a family and no addresses", v2("20 11 00 00"), "", ""},
	{"v2 local with addresses", v2("20 11 00 0C", addresses4), "", ""},
	{"v2 local with anything", v2("20 FF 00 03 01 FFFF"), "", ""},
	{"v2 unspecified", v2("21 00 00 00"), "", ""},
	{"v2 unspecified with a TLV", v2("21 00 00 03 04 00 00"), "", ""},
	{"v2 unspecified family of a stream", v2("21 01 00 00"), "", ""},
	{"v2 unspecified protocol over IPv4", v2("21 10 00 0C", addresses4), "", ""},
	{"v2 UDP over IPv4", v2("21 12 00 0C", addresses4), "", ""},
	{"v2 UDP over IPv6", v2("21 22 00 24", addresses6), "", ""},
	{"v2 UNIX datagram", v2("21 32 00 D8", field("a"), field("b")), "", ""},
}

// v2 is a header of version 2.
func v2(text ...string) string {
	return string(unhex(new(testing.T), append([]string{signature}, text...)...))
}

// withChecksum ends a header in a TLV with its checksum, bit by bit as RFC 3309 defines it.
func withChecksum(header string) string {
	header += "\x03\x00\x04\x00\x00\x00\x00"
	sum := ^uint32(0)
	for _, b := range []byte(header) {
		sum ^= uint32(b)
		for range 8 {
			low := sum & 1
			sum >>= 1
			if low == 1 {
				sum ^= 0x82f63b78
			}
		}
	}
	sum = ^sum
	return header[:len(header)-4] + string([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

func TestReadTakesTheHeaderAndNothingElse(t *testing.T) {
	t.Parallel()
	readers := map[string]func(io.Reader) io.Reader{
		"at once":      func(r io.Reader) io.Reader { return r },
		"byte by byte": iotest.OneByteReader,
		"by halves":    iotest.HalfReader,
		"with the end": iotest.DataErrReader,
	}
	for _, tt := range goodHeaders {
		for name, reader := range readers {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				t.Parallel()
				from := strings.NewReader(tt.header + "\x16\x03\x01and more")
				source, destination, err := Read(reader(from))
				if err != nil {
					t.Fatal(err)
				}
				if told(source) != tt.source || told(destination) != tt.destination {
					t.Errorf("it tells of %q to %q, want %q to %q", told(source), told(destination), tt.source, tt.destination)
				}
				rest, err := io.ReadAll(from)
				if name == "with the end" {
					return // that reader holds some of it
				}
				if string(rest) != "\x16\x03\x01and more" || err != nil {
					t.Errorf("%q is left to read, error %v", rest, err)
				}
			})
		}
	}
}

func told(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func TestReadOfAbstractNames(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("abstract names are Linux's")
	}
	source, destination, err := Read(strings.NewReader(v2("21 31 00 D8", field(""), field("\x00name"))))
	if err != nil || told(source) != "" || told(destination) != "@name" {
		t.Errorf("it tells of %q to %q, error %v", told(source), told(destination), err)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	right := withChecksum(v2("21 11 00 13", addresses4))
	if _, _, err := Read(strings.NewReader(right)); err != nil {
		t.Fatalf("a header with a checksum: %v", err)
	}
	wrong := func(at int) string { return right[:at] + string([]byte{right[at] ^ 1}) + right[at+1:] }
	tests := []struct{ name, header, reason, want string }{
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", ReasonMissing, `no PROXY header: "\x16\x03\x01`},
		{"another protocol", "GET / HTTP/1.1\r\n\r\n", ReasonMissing, `no PROXY header: "GET "`},
		{"a password", "AUTH hunter2\r\n", ReasonMissing, `no PROXY header: "AUTH"`},
		{"few bytes of it", "GET", ReasonMissing, `no PROXY header: "GET"`},
		{"a blank line", "\r\n\r\n\r\n\r\n\r\n\r\n", ReasonMissing, "no PROXY header"},
		{"a word that begins alike", "PROXYING AROUND\r\n", ReasonMissing, "no PROXY header"},
		{"a word in lower case", "proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", ReasonMissing, "no PROXY header"},
		{"a broken signature of version 2", "\r\n\r\n\x00\r\nQUIT\r", ReasonMissing, "no PROXY header"},

		{"v1 without its end", "PROXY UNKNOWN " + strings.Repeat("x", 200), ReasonInvalid, "no end of the line in 107 bytes"},
		{"v1 one byte too long", "PROXY UNKNOWN" + strings.Repeat("x", 107-13-1) + "\r\n", ReasonInvalid, "no end of the line in 107 bytes"},
		{"v1 cut off", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1", ReasonInvalid, "ended in the middle"},
		{"v1 cut off early", "PROXY T", ReasonInvalid, "ended in the middle"},
		{"v1 with LF alone", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", ReasonInvalid, "does not end in CRLF"},
		{"v1 with a CR inside", "PROXY TCP4 1.1.1.1\r 1.1.1.1 1 1\r\n", ReasonInvalid, "does not end in CRLF"},
		{"v1 of a protocol that is none", "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", ReasonInvalid, "neither TCP4 nor TCP6"},
		{"v1 of nothing", "PROXY \r\nGET / HTTP/1.0\r\n", ReasonInvalid, "does not end in CRLF"},
		{"v1 with too few fields", "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", ReasonInvalid, "neither TCP4 nor TCP6"},
		{"v1 with too many fields", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", ReasonInvalid, "neither TCP4 nor TCP6"},
		{"v1 with two blanks", "PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", ReasonInvalid, "neither TCP4 nor TCP6"},
		{"v1 with a tab", "PROXY TCP4\t1.1.1.1 1.1.1.1 1 1\r\n", ReasonInvalid, "neither TCP4 nor TCP6"},
		{"v1 with an address of the other family", "PROXY TCP4 ::1 ::1 1 1\r\n", ReasonInvalid, "no two addresses of TCP4"},
		{"v1 with IPv4 for IPv6", "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", ReasonInvalid, "no two addresses of TCP6"},
		{"v1 with octal numbers", "PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", ReasonInvalid, "no two addresses"},
		{"v1 with a number too large", "PROXY TCP4 256.1.1.1 1.1.1.1 1 1\r\n", ReasonInvalid, "no two addresses"},
		{"v1 with a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n", ReasonInvalid, "no two addresses"},
		{"v1 with a port too large", "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", ReasonInvalid, "no two addresses"},
		{"v1 with a zero before the port", "PROXY TCP4 1.1.1.1 1.1.1.1 1 01\r\n", ReasonInvalid, "no two addresses"},
		{"v1 with a sign", "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", ReasonInvalid, "no two addresses"},
		{"v1 with a host name", "PROXY TCP4 localhost 1.1.1.1 1 1\r\n", ReasonInvalid, "no two addresses"},

		{"v2 cut off in the signature", v2()[:5], ReasonInvalid, "ended in the middle"},
		{"v2 cut off in the fixed part", v2("21 11 00"), ReasonInvalid, "ended in the middle"},
		{"v2 cut off in the addresses", v2("21 11 00 0C", addresses4)[:20], ReasonInvalid, "ended in the middle"},
		{"v2 that announces more than there is", v2("21 11 FFFF", addresses4), ReasonInvalid, "ended in the middle"},
		{"v2 local that announces more than there is", v2("20 00 00 01"), ReasonInvalid, "ended in the middle"},
		{"v2 of version 1", v2("11 11 00 0C", addresses4), ReasonInvalid, "version and command 0x11"},
		{"v2 of version 3", v2("31 11 00 0C", addresses4), ReasonInvalid, "version and command 0x31"},
		{"v2 with another command", v2("22 11 00 0C", addresses4), ReasonInvalid, "version and command 0x22"},
		{"v2 of another family", v2("21 41 00 0C", addresses4), ReasonInvalid, "family and protocol 0x41"},
		{"v2 of another protocol", v2("21 13 00 0C", addresses4), ReasonInvalid, "family and protocol 0x13"},
		{"v2 too short for IPv4", v2("21 11 00 0B", addresses4)[:27], ReasonInvalid, "11 bytes are too few"},
		{"v2 too short for IPv6", v2("21 21 00 0C", addresses4), ReasonInvalid, "12 bytes are too few"},
		{"v2 too short for UNIX", v2("21 31 00 24", addresses6), ReasonInvalid, "36 bytes are too few"},
		{"v2 of UDP, too short", v2("21 12 00 00"), ReasonInvalid, "0 bytes are too few"},
		{"a TLV without a length", v2("21 11 00 0E", addresses4, "01 00"), ReasonInvalid, "has no length"},
		{"a TLV that is longer than the header", v2("21 11 00 11", addresses4, "01 00 03 68 32"), ReasonInvalid, "a TLV of 3 bytes does not fit into the 2"},
		{"a TLV that claims very much", v2("21 11 00 0F", addresses4, "01 FFFF"), ReasonInvalid, "a TLV of 65535 bytes does not fit into the 0"},
		{"a TLV beside no addresses", v2("21 00 00 02 01 00"), ReasonInvalid, "has no length"},
		{"another source", wrong(16), ReasonInvalid, "its checksum is"},
		{"another length and TLV", right[:14] + "\x00\x16" + right[16:] + "\x04\x00\x00", ReasonInvalid, "its checksum is"},
		{"another checksum", wrong(len(right) - 1), ReasonInvalid, "its checksum is"},
		{"a checksum of 3 bytes", v2("21 11 00 12", addresses4, "03 00 03 00 00 00"), ReasonInvalid, "its checksum is not one of 4 bytes"},
		{"two checksums", withChecksum(withChecksum(v2("21 11 00 1A", addresses4))), ReasonInvalid, "its checksum is not one of 4 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source, destination, err := Read(strings.NewReader(tt.header))
			var refused *Error
			if !errors.As(err, &refused) || refused.Reason() != tt.reason || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one for %s with %q", err, tt.reason, tt.want)
			}
			if source != nil || destination != nil {
				t.Errorf("it tells of %v to %v", source, destination)
			}
		})
	}
}

// A connection that breaks is no fault of a header.
func TestReadOfConnectionsThatFail(t *testing.T) {
	t.Parallel()
	for text, nothing := range map[string]bool{"": true, "PROXY T": false, "PROXY TCP4 1.1.1.1": false, v2("21 11 00 0C"): false} {
		for _, broken := range []error{syscall.ECONNRESET, io.ErrClosedPipe} {
			_, _, err := Read(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) || errors.Is(err, ErrNothing) != nothing || errors.As(err, new(*Error)) {
				t.Errorf("%v after %q: %v", broken, text, err)
			}
		}
	}
	if _, _, err := Read(strings.NewReader("")); !errors.Is(err, ErrNothing) || !errors.Is(err, io.EOF) {
		t.Errorf("the end before anything: %v", err)
	}
}

// What is announced is not set aside before it comes.
func TestReadHoldsNoMoreThanCame(t *testing.T) {
	few := append([]byte(v2("21 11 FFFF", addresses4)), make([]byte, 500)...)
	const rounds = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		if _, _, err := Read(bytes.NewReader(few)); err == nil {
			t.Error("a header that is cut off was taken")
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 8<<10 {
		t.Errorf("%d bytes are set aside for %d that came", each, len(few))
	}
}

func TestStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range goodHeaders {
		for n := range len(tt.header) {
			does, may := Starts([]byte(tt.header[:n]))
			if !does && !may {
				t.Errorf("%q: no start of a header", tt.header[:n])
			}
			if n >= MaxStart && !does {
				t.Errorf("%q: not known to start a header", tt.header[:n])
			}
		}
		if !StartsRecord([5]byte([]byte(tt.header))) {
			t.Errorf("%s: not known to start a header by five bytes", tt.name)
		}
	}
	for _, text := range []string{"X", "PROXYING", "PROXY TCP5", "PROXY\r\n", "\r\n\r\nx", "\x16\x03\x01\x02\x00", "GET / HTTP/1.1\r\n"} {
		if does, may := Starts([]byte(text)); does || may {
			t.Errorf("%q: %v, %v", text, does, may)
		}
	}
	if StartsRecord([5]byte([]byte("GET /"))) {
		t.Error("GET / is no start of a header")
	}
}
