package status

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// browsed refuses what web pages of others have a browser ask for. A port that asks for nothing lets in everybody who
// reaches it, and a browser reaches for its pages whatever its machine reaches:
//
//   - Requests of other sites are refused, but for links to a document. The answers would be kept from the site, but a
//     profile would be taken.
//   - A site may have its own name lead to 127.0.0.1 once its page is there (DNS rebinding): then it is of the same
//     origin as the port, and could read all. So browsers find an open port of this machine by names of this machine
//     alone. They tell no more of themselves to plain HTTP than that they are browsers.
//
// Other programs may call the port whatever they like. What TLS or a token protects, no name opens; open says that
// there is no token.
func browsed(h http.Handler, hostname string, open bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case isFromOtherSite(r):
			writeText(w, http.StatusForbidden, "not for the pages of other sites")
		case open && isFromBrowser(r) && isLocal(r) && !isLocalName(r.Host, hostname):
			writeText(w, http.StatusMisdirectedRequest, "not known by this name to browsers: use localhost, an IP address, HTTPS, or --status-token-file")
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// isFromOtherSite tells whether a browser says that a page of another origin asks (Fetch Metadata), and that not by a link.
func isFromOtherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	isLink := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !isLink || r.Method != http.MethodGet
}

// isFromBrowser tells whether a request has what browsers send and pages cannot leave out.
func isFromBrowser(r *http.Request) bool {
	return r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Accept-Language") != "" ||
		strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

// isLocal tells whether a request came in the clear to a loopback address.
func isLocal(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && addr.IP.IsLoopback() && r.TLS == nil
}

// isLocalName tells whether nobody else can have the name of a Host header lead here.
func isLocalName(host, hostname string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == strings.ToLower(hostname)
}
