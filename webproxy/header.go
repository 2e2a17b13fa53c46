package webproxy

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// hopByHop are the fields that are about one connection alone (RFC 9110, section 7.6.1), beside those that Connection names.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// removeHopByHop removes what does not go beyond the connection it came by.
func removeHopByHop(h http.Header) {
	for _, named := range h["Connection"] {
		for name := range strings.SplitSeq(named, ",") {
			if name = strings.Trim(name, " \t"); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// removeOurs removes what tells a target where a request comes from. Nobody but us may say so.
func removeOurs(h http.Header) {
	for name := range h {
		if isOurs(name) {
			delete(h, name)
		}
	}
}

// removeFromTrailer removes what no trailer may tell a target: what a request means, to whom it goes and where it ends (RFC 9110,
// section 6.5.1), and what we say ourselves.
func removeFromTrailer(h http.Header) {
	removeOurs(h)
	delete(h, requestID)
	for name := range h {
		if !httpguts.ValidTrailerHeader(name) {
			delete(h, name)
		}
	}
}

// keepOnly removes all but what is named.
func keepOnly(h http.Header, names []string) {
	for name := range h {
		if !slices.Contains(names, name) {
			delete(h, name)
		}
	}
}

// isOurs reports whether a field is one of those, or would be taken for one: where headers become variables, as in CGI, - and _
// are the same.
func isOurs(name string) bool {
	switch name[0] {
	case 'X', 'x', 'F', 'f':
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		return strings.HasPrefix(name, "x-forwarded-") || name == "forwarded" || name == "x-real-ip"
	}
	return false
}

// upgradeOf is the protocol that a header wants to go over to; "" is none. HTTP/2 is none: whoever wants that says so from the
// start, and a target that agreed would be spoken to past us.
func upgradeOf(h http.Header) string {
	if !httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade") {
		return ""
	}
	wanted := h["Upgrade"]
	if len(wanted) != 1 || httpguts.HeaderValuesContainsToken(wanted, "h2c") {
		return ""
	}
	return wanted[0]
}

// isGRPC reports whether a request's body is a stream of gRPC messages. Those come by HTTP/2: whoever says so by HTTP/1.1 would
// have no time limit for the saying.
func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}
