// Package header writes and reads the headers of the PROXY protocol, by which a proxy tells whom it speaks for. The protocol
// is that of HAProxy's doc/proxy-protocol.txt; sections named here are sections of it.
//
//	bytes, err := header.TLSFull(client.RemoteAddr(), client.LocalAddr(), &session) // to be sent before anything else
//	source, destination, err := header.Read(conn)                                   // nil, nil: those of conn itself
//
// Written are headers of version 2 alone; read are both versions. Read takes not one byte beyond the header, so that what
// follows is read from the same connection by whoever it is for.
//
// The package does not know who may send a header, and has no clock: deadlines belong to whoever owns the connection.
package header

import "bytes"

// What a header begins with. Version 1 is told apart by the whole word and the blank behind it (section 2.1), version 2 by
// bytes that no other protocol begins with (section 2.2).
const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// starts are the beginnings that no more than a header has.
var starts = []string{"PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN", signature2}

// MaxStart is how many bytes Starts looks at, at most.
const MaxStart = len("PROXY UNKNOWN")

// Starts looks at the first bytes of a connection: whether a header starts there, and, if it does not, whether one may with
// more bytes.
func Starts(first []byte) (does, may bool) {
	for _, start := range starts {
		if bytes.HasPrefix(first, []byte(start)) {
			return true, false
		}
		may = may || bytes.HasPrefix([]byte(start), first)
	}
	return false, may
}

// StartsRecord reports whether bytes that are no TLS record, of which crypto/tls keeps the first five, look like the start of
// a header.
func StartsRecord(first [5]byte) bool {
	return string(first[:]) == signature1[:5] || string(first[:]) == signature2[:5]
}
