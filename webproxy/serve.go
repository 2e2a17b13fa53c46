package webproxy

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// requestID is the header that has the id of a request.
const requestID = "X-Request-Id"

// serve has one request answered.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if connOf(r).deaf.Load() {
		panic(http.ErrAbortHandler) // it was in store behind a body that is broken, and may be part of it
	}
	p.requests.Add(1)
	defer p.requests.Done()
	e := begin(r)
	a := &answer{ResponseWriter: w, exchange: e}
	e.body = p.bodyOf(a, r)
	defer e.body.end()
	defer p.end(e)

	if err := p.check(r); err != nil {
		e.refuse(a, err)
		return
	}
	if !p.take() {
		a.Header().Set("Retry-After", "1")
		e.refuse(a, &refusal{http.StatusServiceUnavailable, reasonTooMany, "too many requests are in hand"})
		return
	}
	defer p.give()
	p.forward(a, e)
}

// begin takes a request in hand.
func begin(r *http.Request) *exchange {
	c := connOf(r)
	return &exchange{
		request: r,
		conn:    c,
		Exchange: Exchange{
			Started: time.Now(), ID: idOf(r.Header), Remote: c.RemoteAddr(), TLS: c.session,
			Method: r.Method, Host: r.Host, Path: r.URL.Path, Protocol: r.Proto,
		},
	}
}

// end tells of a request that is over.
func (p *Proxy) end(e *exchange) {
	if p.Observe == nil {
		return
	}
	e.Duration = time.Since(e.Started)
	if e.body != nil {
		e.BytesIn += e.body.read.Load()
	}
	p.Observe(e.Exchange)
}

// take takes a request more in hand; false is that there are too many.
func (p *Proxy) take() bool {
	if p.slots == nil {
		return true
	}
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p *Proxy) give() {
	if p.slots != nil {
		<-p.slots
	}
}

// isReset reports whether a request came by a stream of HTTP/2 that is over. Go's server may be writing the header of an answer
// that came early then, and does not wait for that: to change it now would be a race, and could end the process.
func (e *exchange) isReset() bool {
	return e.request.ProtoMajor > 1 && e.request.Context().Err() != nil
}

// refuse answers a request in the target's place.
func (e *exchange) refuse(a *answer, refused *refusal) {
	e.Reason = refused.reason
	if e.isReset() {
		e.Code = refused.code
		panic(http.ErrAbortHandler)
	}
	h := a.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(requestID, e.ID)
	text := fmt.Sprintf("%d %s: %s\nrequest %s\n", refused.code, http.StatusText(refused.code), refused.text, e.ID)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	a.WriteHeader(refused.code)
	if e.Method != http.MethodHead {
		_, _ = io.WriteString(a, text)
	}
}
