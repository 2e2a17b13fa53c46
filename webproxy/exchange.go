package webproxy

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Exchange is a request and what became of it.
type Exchange struct {
	Started  time.Time     // when the request's header had come
	Duration time.Duration // from then until the answer was sent, or a connection that was upgraded ended

	ID     string // the request's: its own X-Request-Id, or one that was made for it
	Remote net.Addr
	TLS    *tls.ConnectionState // of the client; nil without TLS

	Method   string // as the client wrote it
	Host     string // that it asked for; may be empty in HTTP/1.0
	Path     string // without a query, which may hold secrets
	Protocol string // HTTP/1.1, HTTP/2.0

	// Code is the status of the answer. 101 is a connection that was upgraded; 499 is a client that went away before there
	// was an answer.
	Code     int
	BytesIn  int64    // of the request's body, or from the client once it was upgraded
	BytesOut int64    // of the answer's body, or to the client
	Target   net.Addr // who answered, or was asked; nil if nobody was

	// Reason says why the answer is not the target's, or broke off: one of Reasons, or what a dial error has. It is empty
	// if the target answered and all went well. Err has more of it, and is nil where there is no more to tell.
	Reason string
	Err    error
}

// statusClientGone is what others call a request whose client did not wait for the answer.
const statusClientGone = 499

// exchange is a request in hand.
type exchange struct {
	Exchange

	request *http.Request
	conn    *conn
	body    *body       // of the request; nil if it has none
	link    *link       // to the target; nil if it cannot leave HTTP
	untaken stall       // the clock of its client, over HTTP/2
	stalled atomic.Bool // who takes nothing of it
}

// answer is the way back to a client. It takes note of what is sent.
type answer struct {
	http.ResponseWriter

	exchange *exchange
}

// Unwrap lets http.ResponseController find what the writer can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader sends the status. It is where a client learns that its connection comes to an end.
func (a *answer) WriteHeader(code int) {
	if code >= http.StatusOK {
		a.exchange.Code = code
		if a.exchange.request.ProtoMajor == 1 && (a.exchange.conn.isEnding() || a.exchange.body.isLast()) {
			a.Header().Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.exchange.BytesOut += int64(n)
	return n, err
}
