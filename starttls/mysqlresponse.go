package starttls

import (
	"bytes"
	"encoding/binary"
)

const (
	mysqlRequestLength = 32      // of an SSLRequest, which is the beginning of a response
	mysqlPacketLength  = 1 << 24 // the largest packet, as clients tell it
)

// mysqlResponse is who a client says it is ("Protocol::HandshakeResponse41").
type mysqlResponse struct {
	capabilities uint64 // MariaDB's own in the upper half
	maxPacket    uint32
	charset      byte
	user         []byte
	database     []byte // nil without that capability
	plugin       string // likewise ""
	rest         []byte // what follows the plugin's name: attributes, and a level of compression
}

// mysqlCapabilities reads the capabilities of a response or an SSLRequest; not ok if it is none of version 4.1.
func mysqlCapabilities(p []byte) (capabilities uint64, ok bool) {
	if len(p) < mysqlRequestLength {
		return 0, false
	}
	capabilities = uint64(binary.LittleEndian.Uint32(p))
	if capabilities&mysqlLongPassword == 0 {
		capabilities |= uint64(binary.LittleEndian.Uint32(p[28:])) << 32
	}
	return capabilities, capabilities&mysqlProtocol41 != 0
}

// parseMySQLResponse reads a response.
func parseMySQLResponse(p []byte) (*mysqlResponse, error) {
	capabilities, ok := mysqlCapabilities(p)
	if !ok {
		return nil, malformed("a response of MySQL that is too short, or too old: it begins with %s", clipStart(p))
	}
	r := &mysqlResponse{capabilities: capabilities, maxPacket: binary.LittleEndian.Uint32(p[4:]), charset: p[8]}
	var rest []byte
	if r.user, rest, ok = bytes.Cut(p[mysqlRequestLength:], []byte{0}); !ok {
		return nil, malformed("a response of MySQL without a user")
	}
	switch {
	case capabilities&mysqlLengthEncoding != 0:
		rest, ok = skipLengthEncoded(rest)
	case capabilities&mysqlSecureAuth != 0:
		if ok = len(rest) > 0 && len(rest) > int(rest[0]); ok {
			rest = rest[1+int(rest[0]):]
		}
	default:
		_, rest, ok = bytes.Cut(rest, []byte{0})
	}
	if !ok {
		return nil, malformed("a response of MySQL whose proof is cut short")
	}
	if capabilities&mysqlWithDatabase != 0 {
		r.database, rest, _ = bytes.Cut(rest, []byte{0})
	}
	if capabilities&mysqlPluginAuth != 0 {
		var plugin []byte
		plugin, rest, _ = bytes.Cut(rest, []byte{0})
		r.plugin = string(plugin)
	}
	r.rest = rest
	return r, nil
}

// limit takes out what the client was not offered.
func (r *mysqlResponse) limit(offered *mysqlGreeting) {
	r.capabilities &= offered.capabilities | mysqlOpinion
	r.capabilities &^= mysqlTLS // the target has none
	if r.capabilities&mysqlAttributes == 0 {
		r.rest = nil
		r.capabilities &^= mysqlZstd
	}
	if r.capabilities&mysqlLongPassword != 0 {
		r.capabilities &= 1<<32 - 1
	}
}

// fits reports whether a server can do all that the client counts on.
func (r *mysqlResponse) fits(server *mysqlGreeting) bool {
	return r.capabilities&^(server.capabilities|mysqlOpinion) == 0
}

// marshalSwitch is the response as it is sent to have the server switch plugins.
func (r *mysqlResponse) marshalSwitch() []byte {
	p := binary.LittleEndian.AppendUint32(nil, uint32(r.capabilities)) //nolint:gosec // the lower half
	p = binary.LittleEndian.AppendUint32(p, r.maxPacket)
	p = append(p, r.charset)
	p = append(p, make([]byte, 19)...)
	p = binary.LittleEndian.AppendUint32(p, uint32(r.capabilities>>32))
	p = append(append(p, r.user...), 0)
	p = append(p, 0) // a proof of no bytes, in each of its encodings
	if r.capabilities&mysqlWithDatabase != 0 {
		p = append(append(p, r.database...), 0)
	}
	p = append(append(p, switchPlugin...), 0)
	return append(p, r.rest...)
}

// skipLengthEncoded leaves out a string with its length before it ("Protocol::LengthEncodedString").
func skipLengthEncoded(p []byte) (rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, false
	}
	var width int
	switch p[0] {
	case 0xfb, 0xff:
		return nil, false
	case 0xfc:
		width = 2
	case 0xfd:
		width = 3
	case 0xfe:
		width = 8
	}
	length, p := uint64(p[0]), p[1:]
	if width > 0 {
		if len(p) < width {
			return nil, false
		}
		length = 0
		for i := width - 1; i >= 0; i-- {
			length = length<<8 | uint64(p[i])
		}
		p = p[width:]
	}
	if length > uint64(len(p)) {
		return nil, false
	}
	return p[length:], true
}
