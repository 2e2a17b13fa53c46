package header

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
)

// The reasons of errors that Read returns.
const (
	ReasonMissing = "proxy_header_missing" // what came is no header
	ReasonInvalid = "proxy_header_invalid" // it begins like one, and breaks the protocol
)

// ErrNothing is that a connection ended before its header had begun.
var ErrNothing = errors.New("the connection ended before its PROXY header")

// Error is a header that is refused.
type Error struct{ reason, text string }

func (e *Error) Error() string { return e.text }

// Reason is the stable name of the error: ReasonMissing or ReasonInvalid.
func (e *Error) Reason() string { return e.reason }

func invalid(format string, args ...any) error {
	return &Error{ReasonInvalid, "invalid PROXY header: " + fmt.Sprintf(format, args...)}
}

// Read reads a header, and nothing beyond it. It returns from where a client connected, and to where; both are nil where the
// header tells of no client, and the ends of the connection itself count.
//
// An error is an *Error for what is not a header of the protocol, one that ends before it is complete included, and otherwise
// that of r; it is ErrNothing too if not one byte had come.
func Read(r io.Reader) (source, destination net.Addr, err error) {
	start, err := readStart(r)
	switch {
	case err != nil:
		return nil, nil, err
	case string(start) == signature2:
		return read2(r, start)
	}
	return read1(r, start)
}

// maxShown is how many bytes an error shows of what is no header: enough to see what it is. In client mode it is plaintext of
// the application, in which a password may come soon.
const maxShown = 4

// readStart reads as many bytes as the signature of version 2 has, which is less than the shortest header of either version.
// It returns early if they are no signature.
func readStart(r io.Reader) ([]byte, error) {
	start := make([]byte, 0, len(signature2))
	for len(start) < cap(start) {
		n, err := r.Read(start[len(start):cap(start)])
		start = start[:len(start)+n]
		common := min(len(start), len(signature1))
		if string(start[:common]) != signature1[:common] && string(start) != signature2[:len(start)] {
			return nil, &Error{ReasonMissing, fmt.Sprintf("what came first is no PROXY header: %q", start[:min(len(start), maxShown)])}
		}
		switch {
		case err != nil && len(start) == 0:
			return nil, fmt.Errorf("%w: %w", ErrNothing, err)
		case err != nil && len(start) < cap(start):
			return nil, cutOff(err)
		}
	}
	return start, nil
}

// cutOff is the error for one that reading met inside a header.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("the connection ended in the middle of it")
	}
	return fmt.Errorf("reading the PROXY header: %w", err)
}

// maxLine is how long a header of version 1 can be, with its CRLF (section 2.1).
const maxLine = 107

// read1 reads what is left of a header of version 1. It has no length, so the bytes are read one by one.
func read1(r io.Reader, start []byte) (source, destination net.Addr, err error) {
	line := append(make([]byte, 0, maxLine), start...)
	for !bytes.HasSuffix(line, []byte("\n")) {
		if len(line) == maxLine {
			return nil, nil, invalid("no end of the line in %d bytes", maxLine)
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return nil, nil, cutOff(err)
		}
	}
	return parse1(line)
}

// parse1 takes a line apart, with its end.
func parse1(line []byte) (source, destination net.Addr, err error) {
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || strings.ContainsAny(text, "\r\n") {
		return nil, nil, invalid("%q does not end in CRLF", line)
	}
	fields := strings.Split(text, " ")
	if fields[1] == "UNKNOWN" { // whatever follows
		return nil, nil, nil
	}
	if len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6" {
		return nil, nil, invalid("%q is neither TCP4 nor TCP6 with two addresses and two ports", text)
	}
	from, ok1 := parseEnd(fields[1], fields[2], fields[4])
	to, ok2 := parseEnd(fields[1], fields[3], fields[5])
	if !ok1 || !ok2 {
		return nil, nil, invalid("%q has no two addresses of %s with ports", text, fields[1])
	}
	return net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to), nil
}

// parseEnd reads one end of a connection. The family dictates the format of the address, and there are no zeroes before a
// number.
func parseEnd(family, host, port string) (_ netip.AddrPort, ok bool) {
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" || ip.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(number, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(number)), true
}

// The fixed part of a header of version 2.
const (
	commandAt = 12 // version and command
	familyAt  = 13 // address family and transport protocol
	lengthAt  = 14 // of what follows, in two bytes
	fixedSize = 16
)

// The commands, with the version before them.
const (
	commandLocal = 0x20
	commandProxy = 0x21
)

// The address families and transport protocols, which make one byte.
const (
	familyINET  = 0x10
	familyINET6 = 0x20
	familyUNIX  = 0x30

	protocolUnspecified = 0x00
	protocolStream      = 0x01
	protocolDatagram    = 0x02
)

// addressSizes are the sizes of the blocks of addresses, by their family.
var addressSizes = map[byte]int{0: 0, familyINET: 12, familyINET6: 36, familyUNIX: 216}

// read2 reads what is left of a header of version 2.
func read2(r io.Reader, start []byte) (source, destination net.Addr, err error) {
	fixed := append(make([]byte, 0, fixedSize), start...)[:fixedSize]
	if _, err := io.ReadFull(r, fixed[len(start):]); err != nil {
		return nil, nil, cutOff(err)
	}
	// What is held grows as it comes in: up to 64 KiB can be announced in two bytes.
	length := binary.BigEndian.Uint16(fixed[lengthAt:])
	rest, err := io.ReadAll(io.LimitReader(r, int64(length)))
	if err != nil {
		return nil, nil, cutOff(err)
	}
	if len(rest) < int(length) {
		return nil, nil, cutOff(io.EOF)
	}
	return parse2(append(fixed, rest...))
}

// parse2 takes a whole header apart.
func parse2(h []byte) (source, destination net.Addr, err error) {
	switch h[commandAt] {
	case commandLocal:
		return nil, nil, nil // whatever else it says
	case commandProxy:
	default:
		return nil, nil, invalid("version and command %#02x are unknown", h[commandAt])
	}
	family, protocol := h[familyAt]&0xf0, h[familyAt]&0x0f
	size, known := addressSizes[family]
	if !known || protocol > protocolDatagram {
		return nil, nil, invalid("family and protocol %#02x are unknown", h[familyAt])
	}
	if family != 0 && protocol == protocolUnspecified {
		return nil, nil, nil // nobody knows where the addresses end
	}
	if len(h) < fixedSize+size {
		return nil, nil, invalid("%d bytes are too few for addresses of family %#02x", len(h)-fixedSize, family)
	}
	if err := checkTLVs(h, fixedSize+size); err != nil {
		return nil, nil, err
	}
	if protocol != protocolStream {
		return nil, nil, nil
	}
	source, destination = addresses(family, h[fixedSize:fixedSize+size])
	return source, destination, nil
}

// addresses takes a block of addresses apart, which has the size that the family wants.
func addresses(family byte, block []byte) (source, destination net.Addr) {
	switch family {
	case familyINET, familyINET6:
		size := (len(block) - 4) / 2
		from, _ := netip.AddrFromSlice(block[:size])
		to, _ := netip.AddrFromSlice(block[size : 2*size])
		ports := block[2*size:]
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports))),
			net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:])))
	case familyUNIX:
		return unixAddr(block[:108]), unixAddr(block[108:])
	}
	return nil, nil
}

// unixAddr is the address in a field that is filled up with zeroes. An abstract name of Linux begins with one.
func unixAddr(field []byte) net.Addr {
	name := strings.TrimRight(string(field), "\x00")
	if abstract, ok := strings.CutPrefix(name, "\x00"); ok && runtime.GOOS == "linux" {
		name = "@" + abstract
	} else {
		name, _, _ = strings.Cut(name, "\x00")
	}
	return &net.UnixAddr{Net: "unix", Name: name}
}

// typeCRC32C is the TLV that holds a checksum of the header (section 2.2.3).
const typeCRC32C = 0x03

// checkTLVs looks through what begins at an offset: whether each TLV is whole, and the checksum right if there is one.
func checkTLVs(h []byte, at int) error {
	sumAt := 0
	for at < len(h) {
		left := len(h) - at - 3
		if left < 0 {
			return invalid("its last TLV has no length")
		}
		length := int(binary.BigEndian.Uint16(h[at+1:]))
		if length > left {
			return invalid("a TLV of %d bytes does not fit into the %d that are left", length, left)
		}
		if h[at] == typeCRC32C {
			if sumAt != 0 || length != crc32.Size {
				return invalid("its checksum is not one of %d bytes", crc32.Size)
			}
			sumAt = at + 3
		}
		at += 3 + length
	}
	if sumAt == 0 {
		return nil
	}
	want := binary.BigEndian.Uint32(h[sumAt:])
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(h[:sumAt], table)
	sum = crc32.Update(sum, table, make([]byte, crc32.Size))
	if sum = crc32.Update(sum, table, h[sumAt+crc32.Size:]); sum != want {
		return invalid("its checksum is %08x, and says %08x", sum, want)
	}
	return nil
}
