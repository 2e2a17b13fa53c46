// Package webproxy forwards HTTP: it reads the requests on connections that somebody else has accepted, and has a target answer
// them.
//
//	web := &webproxy.Proxy{Dial: dialTarget, ResponseTimeout: time.Minute}
//	defer web.Close()
//	web.Handle(ctx, client) // one call for each connection; returns when it is over
//
// Clients speak HTTP/1.1, or HTTP/2 where ALPN or its preface says so. The target is told who a request came from in headers
// that nobody else can write: X-Forwarded-For, -Host and -Proto, X-Forwarded-Client-Cert where a certificate was shown, and
// Forwarded (RFC 7239) if that is wanted. Copies that came with a request are removed, as is what belongs to one connection
// alone (RFC 9110, section 7.6.1). Requests go out as they were understood, never as they were written, so that the target
// cannot read them in another way.
//
// Nothing is held back: what a target sends is sent on as it comes. Upgrades such as WebSocket become a stream of bytes. A
// request that cannot be answered by the target gets an answer all the same, with the request's id in it.
//
// The package shakes no hands, authorizes nobody, and neither caches nor changes what is said.
package webproxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy forwards the requests of one tunnel. Its fields must not change once Handle was called.
type Proxy struct {
	// Dial connects to the target. Where it returns a *tls.Conn, what that has agreed on by ALPN decides which HTTP is
	// spoken. It bounds its time by itself. Required.
	Dial func(context.Context) (net.Conn, error)

	// DialUpgrade connects to the target for requests that leave HTTP, which takes HTTP/1.1. Nil is Dial. What it returns is read
	// through its WriteTo from then on, if it is an [io.WriterTo], as is the client's connection.
	DialUpgrade func(context.Context) (net.Conn, error)

	// TargetTLS says that Dial returns a *tls.Conn.
	TargetTLS bool

	// TargetH2C has a target without TLS be spoken to in HTTP/2 (RFC 9113, section 3.3).
	TargetH2C bool

	// Forwarded adds the header of RFC 7239 to those that tell where a request comes from.
	Forwarded bool

	// MaxHeaderBytes bounds the header of a request, roughly. Zero is Go's 1 MiB.
	MaxHeaderBytes int

	// MaxBodyBytes bounds the body of a request. Zero is no bound.
	MaxBodyBytes int64

	// MaxRequests is how many requests may be in hand at once; more are refused with 503. Zero is no limit.
	MaxRequests int

	// HeaderTimeout bounds the reading of a request's header, once its first byte has come. Zero is no bound.
	HeaderTimeout time.Duration

	// ReadTimeout bounds the wait for a client: for more of a request's body, and for it to take more of an answer. For the
	// latter it may be twice as long. Zero is no bound. It does not go for gRPC, whose streams may be silent for long and have
	// deadlines of their own, unless nothing at all can be sent to the client; nor for connections that were upgraded.
	ReadTimeout time.Duration

	// IdleTimeout closes the connection of a client that has no request in hand for so long. Zero is never.
	IdleTimeout time.Duration

	// ResponseTimeout bounds the wait for a response to begin, once the request was sent, and for a target to take more of
	// a request. Zero is no bound. The latter does not go for gRPC.
	ResponseTimeout time.Duration

	// CloseTimeout is how long one direction of a connection that was upgraded may go on after the other has ended. Zero
	// closes at once; less than zero is no bound.
	CloseTimeout time.Duration

	// Misdirected reports whether requests for a host do not belong on the connections that Handle gets, as where a client of
	// HTTP/2 takes one for all names of a certificate. They are answered with 421 (RFC 9110, section 15.5.20), upon which it opens
	// one of its own. Nil is none.
	Misdirected func(host string) bool

	// Observe is told of each request that was answered, refused or given up; of those that are no HTTP there is nothing to
	// tell. It is called from many goroutines at once, and should return quickly. Nil is not called.
	Observe func(Exchange)

	// Log takes what Go's HTTP server has to say, mostly at the level debug. Nil is silence.
	Log *slog.Logger

	once     sync.Once
	http1    *http.Server
	targets  atomic.Pointer[targets]
	slots    chan struct{} // nil: no limit
	buffers  buffers
	ctx      context.Context // ends with Close; dials live under it
	cancel   context.CancelFunc
	requests sync.WaitGroup
}

func (p *Proxy) init() {
	p.once.Do(func() {
		p.ctx, p.cancel = context.WithCancel(context.Background())
		if p.Log == nil {
			p.Log = slog.New(slog.DiscardHandler)
		}
		if p.MaxRequests > 0 {
			p.slots = make(chan struct{}, p.MaxRequests)
		}
		p.http1 = p.server(false)
		p.targets.Store(p.newTargets())
	})
}

// server makes what speaks HTTP with clients.
func (p *Proxy) server(http2 bool) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2) // TLS is beneath the connections that it gets
	return &http.Server{
		Handler:                      http.HandlerFunc(p.serve),
		DisableGeneralOptionsHandler: true,
		Protocols:                    protocols,
		MaxHeaderBytes:               p.MaxHeaderBytes,
		ReadHeaderTimeout:            p.HeaderTimeout,
		IdleTimeout:                  p.IdleTimeout,
		ConnContext:                  withConn,
		ConnState:                    follow,
		ErrorLog:                     p.errorLog(),
	}
}

// Handle serves one client until its connection is over, which it closes. When the context ends, the client is told to send no
// more requests: by "Connection: close" with the next answer, or by GOAWAY.
func (p *Proxy) Handle(ctx context.Context, client net.Conn) {
	p.init()
	p.requests.Add(1)
	defer p.requests.Done()
	c := newConn(client)
	c.boundWrites(p.ReadTimeout)
	defer context.AfterFunc(ctx, c.drain)()
	defer context.AfterFunc(p.ctx, func() { _ = c.Close() })()
	server := p.http1
	switch http2, err := c.speaksHTTP2(p.HeaderTimeout); {
	case err != nil:
		_ = c.Close()
		return
	case http2:
		server = p.server(true) // one for each, which can be told to send GOAWAY
		c.goOver(server)
	}
	_ = server.Serve(c.listener())
	<-c.over
}

// Refresh has requests from now on go over new connections to the target, as after a change of identity or trust. Those that
// carry a request go on until it is answered.
func (p *Proxy) Refresh() {
	p.init()
	p.targets.Swap(p.newTargets()).retire()
}

// Close ends all connections and waits for the requests.
func (p *Proxy) Close() {
	p.init()
	p.cancel()
	p.requests.Wait()
	p.targets.Load().retire()
}
