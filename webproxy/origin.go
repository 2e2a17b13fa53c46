package webproxy

import (
	"net/http"
	"net/netip"
	"strings"
)

// tellOrigin tells the target from whom a request comes, in place of all that it said about that itself.
func (p *Proxy) tellOrigin(h http.Header, e *exchange) {
	removeOurs(h)
	proto := "http"
	if e.conn.session != nil {
		proto = "https"
	}
	h["X-Forwarded-Proto"] = []string{proto}
	if e.Host != "" {
		h["X-Forwarded-Host"] = []string{e.Host}
	}
	if e.conn.address.IsValid() {
		h["X-Forwarded-For"] = []string{e.conn.address.String()}
	}
	if e.conn.proof != "" {
		h["X-Forwarded-Client-Cert"] = []string{e.conn.proof}
	}
	if p.Forwarded {
		h["Forwarded"] = []string{forwarded(e.conn.address, e.Host, proto)}
	}
	h[requestID] = []string{e.ID}
}

// forwarded writes the header of RFC 7239.
func forwarded(client netip.Addr, host, proto string) string {
	var b strings.Builder
	b.WriteString("for=")
	switch {
	case !client.IsValid():
		b.WriteString("unknown")
	case client.Is6():
		b.WriteString(`"[` + client.String() + `]"`)
	default:
		b.WriteString(client.String())
	}
	if host != "" {
		b.WriteString(";host=" + quoted(host, isToken))
	}
	b.WriteString(";proto=" + proto)
	return b.String()
}

// isToken reports whether a byte needs no quotes around it (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// quoted puts quotes around a text that is not made of plain bytes alone, and writes what no header can hold in hexadecimal.
func quoted(text string, plain func(byte) bool) string {
	bare := text != ""
	for i := range len(text) {
		bare = bare && plain(text[i])
	}
	if bare {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		writeVisible(&b, text[i])
	}
	b.WriteByte('"')
	return b.String()
}

// writeVisible writes a byte, or \ and its value in hexadecimal if it is not printable ASCII (RFC 2253, section 2.4).
func writeVisible(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	if ' ' <= c && c <= '~' {
		b.WriteByte(c)
		return
	}
	b.WriteByte('\\')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}
