package starttls

// Tags of ASN.1's own types.
const (
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagEnumerated  = 0x0a
	tagSequence    = 0x30
)

// maxLengthBytes is how many bytes a length may take: LDAP's messages are far from needing more, however they are padded.
const maxLengthBytes = 4

// element is a value in BER as LDAP uses it (RFC 4511, 5.1): tags of one byte, and lengths that are told beforehand.
//
// It is read here because nothing at hand reads just that. encoding/asn1 reads DER, in which a length has one spelling; LDAP's
// clients pad theirs to four bytes, as BER allows. Libraries for BER read whole trees, of any depth, before they say what it is.
// Here two levels are enough.
type element struct {
	tag     byte
	content []byte
}

// readElement takes an element from the front of data.
func readElement(data []byte) (e element, rest []byte, err error) {
	if len(data) < 2 {
		return element{}, nil, malformed("an element of BER is cut short")
	}
	more := lengthBytes(data[1])
	if more < 0 || len(data) < 2+more {
		return element{}, nil, malformed("an element of BER without a length")
	}
	length, content := elementLength(data[1], data[2:2+more]), data[2+more:]
	if length > len(content) {
		return element{}, nil, malformed("an element of BER is longer than what holds it")
	}
	return element{tag: data[0], content: content[:length]}, content[length:], nil
}

// lengthBytes is how many bytes of length follow the first one; -1 if that is none that may be.
func lengthBytes(first byte) int {
	if first < 0x80 {
		return 0
	}
	if more := int(first & 0x7f); more >= 1 && more <= maxLengthBytes { // 0 is a length that is not told
		return more
	}
	return -1
}

// elementLength is the length that the first byte and those that follow tell.
func elementLength(first byte, more []byte) int {
	if len(more) == 0 {
		return int(first)
	}
	length := uint64(0)
	for _, b := range more {
		length = length<<8 | uint64(b)
	}
	return int(min(length, 1<<31-1))
}

// appendElement appends an element of less than 64 KiB to data.
func appendElement(data []byte, tag byte, content []byte) []byte {
	data = append(data, tag)
	switch n := len(content); {
	case n < 0x80:
		data = append(data, byte(n))
	case n < 0x100:
		data = append(data, 0x81, byte(n))
	default:
		data = append(data, 0x82, byte(n>>8), byte(n)) //nolint:gosec // no longer, see above
	}
	return append(data, content...)
}

// appendInteger appends a number that is not negative and has no more than 31 bits.
func appendInteger(data []byte, n int) []byte {
	content := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} //nolint:gosec // its bytes
	for len(content) > 1 && content[0] == 0 && content[1]&0x80 == 0 {
		content = content[1:]
	}
	return appendElement(data, tagInteger, content)
}
