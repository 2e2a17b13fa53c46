package webproxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxFields is how many lines the header of a request may have. It is what Envoy and Apache allow.
const maxFields = 100

// refusal is an answer that is not the target's.
type refusal struct {
	code   int
	reason string
	text   string
}

// check refuses what is not to be forwarded. What is no proper HTTP does not come this far.
func (p *Proxy) check(r *http.Request) *refusal {
	if !httpguts.ValidHostHeader(r.Host) || !httpguts.ValidHeaderFieldName(r.Method) {
		// Of HTTP/1.1's Host and method this is known. A host beyond ASCII would be another one on its way to the target.
		return &refusal{http.StatusBadRequest, reasonBadRequest, "the host or the method is malformed"}
	}
	if r.Method == "PRI" { // Go's server lets it pass in HTTP/1.1, as a request of HTTP/2
		return &refusal{http.StatusBadRequest, reasonBadRequest, "HTTP/2 does not begin in HTTP/1.1"}
	}
	if r.Method == http.MethodConnect {
		return &refusal{http.StatusMethodNotAllowed, reasonMethod, "CONNECT asks for a tunnel, and this is no forward proxy"}
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > maxFields {
		return &refusal{http.StatusRequestHeaderFieldsTooLarge, reasonHeader, fmt.Sprintf("the header has %d fields, and %d are allowed", fields, maxFields)}
	}
	if p.Misdirected != nil && p.Misdirected(hostOf(r)) {
		return &refusal{http.StatusMisdirectedRequest, reasonMisdirected, "requests for this host do not come by this connection; open another one"}
	}
	if p.MaxBodyBytes > 0 && r.ContentLength > p.MaxBodyBytes {
		return p.tooLarge()
	}
	return nil
}

// hostOf is the host that a request is for, without its port.
func hostOf(r *http.Request) string {
	return strings.TrimSuffix((&url.URL{Host: r.Host}).Hostname(), ".")
}

func (p *Proxy) tooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, reasonBody, fmt.Sprintf("the body is larger than the %d bytes that are allowed", p.MaxBodyBytes)}
}
