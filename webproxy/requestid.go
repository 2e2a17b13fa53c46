package webproxy

import (
	"crypto/rand"
	"net/http"
)

// maxID is how long a request's id may be. Those of others are mostly UUIDs.
const maxID = 128

// idOf is the id that a request came with, if that can be shown and logged as it is, and else a new one.
func idOf(h http.Header) string {
	if ids := h[requestID]; len(ids) == 1 && isSane(ids[0]) {
		return ids[0]
	}
	return rand.Text()
}

// isSane reports whether an id is made of what ids are made of: letters, digits and a few signs that mean nothing in headers,
// logs and shells.
func isSane(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return 0 < len(id) && len(id) <= maxID
}
