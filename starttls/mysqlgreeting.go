package starttls

import (
	"bytes"
	"encoding/binary"
)

// Parts of a greeting that have one value here.
const (
	mysqlVersion        = 10 // of the protocol
	mysqlScrambleLength = 20
	mysqlFirstPart      = 8  // of the scramble
	mysqlUTF8           = 45 // utf8mb4_general_ci
	mysqlAutocommit     = 2
)

// mysqlGreeting is what a server says first ("Protocol::HandshakeV10").
type mysqlGreeting struct {
	version      string
	connection   uint32
	scramble     [mysqlScrambleLength]byte
	capabilities uint64 // MariaDB's own in the upper half
	charset      byte
	status       uint16
	plugin       string
}

// parseMySQLGreeting reads a greeting. Servers that clients could not be kept apart from by TLS, for want of version 4.1 of the
// protocol or of plugins, are none.
func parseMySQLGreeting(p []byte) (*mysqlGreeting, error) {
	const fixed = 4 + mysqlFirstPart + 1 + 2 + 1 + 2 + 2 + 1 + 10 // what follows the version, up to the scramble's second part
	if len(p) == 0 || p[0] != mysqlVersion {
		return nil, malformed("not a greeting of MySQL: it begins with %s", clip(p))
	}
	version, rest, ok := bytes.Cut(p[1:], []byte{0})
	if !ok || len(rest) < fixed {
		return nil, malformed("a greeting of MySQL that is cut short")
	}
	g := &mysqlGreeting{version: string(version), connection: binary.LittleEndian.Uint32(rest)}
	copy(g.scramble[:], rest[4:12])
	rest = rest[13:] // a zero follows
	g.capabilities = uint64(binary.LittleEndian.Uint16(rest)) | uint64(binary.LittleEndian.Uint16(rest[5:]))<<16
	g.charset, g.status = rest[2], binary.LittleEndian.Uint16(rest[3:])
	length := int(rest[7])
	if g.capabilities&mysqlLongPassword == 0 {
		g.capabilities |= uint64(binary.LittleEndian.Uint32(rest[14:])) << 32
	}
	rest = rest[18:]
	if g.capabilities&mysqlProtocol41 == 0 || g.capabilities&mysqlPluginAuth == 0 || g.capabilities&mysqlSecureAuth == 0 {
		return nil, malformed("a server of MySQL from before version 5.5.7")
	}
	// Whatever the length says, the second part has 13 bytes at least, of which the last is a zero.
	second := max(mysqlScrambleLength-mysqlFirstPart+1, length-mysqlFirstPart)
	if second != mysqlScrambleLength-mysqlFirstPart+1 || len(rest) < second {
		return nil, malformed("a greeting of MySQL with a scramble of %d bytes", length)
	}
	copy(g.scramble[mysqlFirstPart:], rest)
	g.plugin = mysqlText(rest[second:])
	return g, nil
}

// marshal is the greeting as it is sent.
func (g *mysqlGreeting) marshal() []byte {
	p := append([]byte{mysqlVersion}, g.version...)
	p = append(p, 0)
	p = binary.LittleEndian.AppendUint32(p, g.connection)
	p = append(p, g.scramble[:mysqlFirstPart]...)
	p = append(p, 0)
	p = binary.LittleEndian.AppendUint16(p, uint16(g.capabilities)) //nolint:gosec // the lowest of its parts
	p = append(p, g.charset)
	p = binary.LittleEndian.AppendUint16(p, g.status)
	p = binary.LittleEndian.AppendUint16(p, uint16(g.capabilities>>16)) //nolint:gosec // as above
	p = append(p, mysqlScrambleLength+1)
	p = append(p, make([]byte, 6)...)
	p = binary.LittleEndian.AppendUint32(p, uint32(g.capabilities>>32))
	p = append(append(p, g.scramble[mysqlFirstPart:]...), 0)
	return append(append(p, g.plugin...), 0)
}

// mysqlText is a text that ends with a zero, or with the packet, as it does in old versions.
func mysqlText(p []byte) string {
	text, _, _ := bytes.Cut(p, []byte{0})
	return string(text)
}
