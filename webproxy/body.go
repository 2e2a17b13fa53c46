package webproxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// errTooLarge is a body of a request that is larger than Proxy.MaxBodyBytes.
var errTooLarge = errors.New("the request's body is too large")

// errStalled is a target that takes no more of a request.
var errStalled = errors.New("the target takes no more of the request")

// leftover is how much is read of a body that nobody wants, so that the connection can go on behind it.
const leftover = 256 << 10

// body is that of a request on its way to the target. Go's HTTP client reads it, and may do so for a moment longer than the
// request is in hand.
type body struct {
	source   io.ReadCloser
	control  *http.ResponseController
	conn     *conn         // of HTTP/1; nil for a stream of HTTP/2
	awaited  bool          // the client sends it when it is told to
	patience time.Duration // for the client; 0: without end
	most     int64         // bytes; 0: no bound
	trailer  http.Header   // is there when the body has ended, with more in it than was announced
	goes     []string      // what of the trailer goes on
	stall    stall
	read     atomic.Int64

	mu     sync.Mutex
	begun  bool // somebody reads it
	closed bool
	whole  bool
	failed error // why it did not come to its end
}

// bodyOf is the body of a request; nil if it has none. An answer need not wait until all of it was read.
func (p *Proxy) bodyOf(a *answer, r *http.Request) *body {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b := &body{source: r.Body, control: http.NewResponseController(a), most: p.MaxBodyBytes, trailer: r.Trailer}
	removeFromTrailer(b.trailer)
	b.goes = slices.Collect(maps.Keys(b.trailer))
	b.awaited = httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
	if r.ProtoMajor == 1 {
		_ = b.control.EnableFullDuplex()
		b.conn = connOf(r)
	}
	if !isGRPC(r) {
		b.patience = p.ReadTimeout
	}
	return b
}

// Read waits for the client, as long as that may take.
func (b *body) Read(p []byte) (int, error) {
	if !b.begin() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.stall.pause()
	n, err := b.source.Read(p)
	total := b.read.Add(int64(n))
	switch {
	case b.most > 0 && total > b.most:
		n, err = 0, errTooLarge
		b.fail(err)
	case err == io.EOF:
		b.complete()
		keepOnly(b.trailer, b.goes)
	case err != nil:
		b.fail(err)
	default:
		b.stall.resume()
	}
	return n, err
}

// complete takes the deadline back, which would end what comes next on the connection.
func (b *body) complete() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = true
	b.setDeadline(time.Time{})
}

// begin reports whether the body may be read, and has the client send more of it in time.
func (b *body) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.begun = true
	b.setDeadline(time.Now().Add(b.patience))
	return true
}

// setDeadline bounds the wait for the client, while the request is in hand: what Go's server has for a request is gone with it, and
// to ask for it then would end the process. b.mu is held.
func (b *body) setDeadline(t time.Time) {
	if b.patience > 0 && !b.closed {
		_ = b.control.SetReadDeadline(t)
	}
}

func (b *body) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
}

// failure is why the body did not come to its end; nil if it did, or nobody has read on.
func (b *body) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// Close does nothing: Go's HTTP client closes bodies when it cannot reach a target, and to close that of Go's HTTP server may
// wait for a client that waits for us.
func (b *body) Close() error { return nil }

// end keeps the body from being read after its request is over. What is left of it must not be taken for the next request:
// either it is read, which is not waited for long, or there is no next one. Go's server would read it too, but where an answer
// may come before the end of a request (EnableFullDuplex), it neither minds that this fails nor bears that it succeeds.
func (b *body) end() {
	if b == nil {
		return
	}
	b.stall.end()
	b.mu.Lock()
	b.closed = true
	over := b.whole || b.conn == nil
	given := b.failed != nil || b.unasked()
	b.mu.Unlock()
	if over || !given && b.skip() {
		return
	}
	b.conn.deaf.Store(true)
	_ = b.control.SetReadDeadline(time.Unix(1, 0))  // for who may still be reading
	_, _ = io.CopyN(io.Discard, b.source, leftover) // what Go's server has in store
}

// skip reads what is left, and reports whether that was not much.
func (b *body) skip() bool {
	_ = b.control.Flush() // the answer does not wait for that
	_ = b.control.SetReadDeadline(time.Now().Add(quiet))
	_, err := io.CopyN(io.Discard, b.source, leftover)
	return err == io.EOF
}

// unasked reports whether the client waits to be told that it may send the body. b.mu is held.
func (b *body) unasked() bool { return b.awaited && !b.begun }

// watch finds out whether the client goes away during the answer, where nobody else does: Go's server does so from the end of a body
// on, and whoever reads it until then. Neither comes to pass with one that the client waits to be told to send, if nobody will read
// it any more. Its connection ends with the answer; so what still comes is no request. The result ends the watch.
func (b *body) watch(gone func()) (end func()) {
	if b == nil || b.conn == nil {
		return func() {}
	}
	b.mu.Lock()
	unasked := b.unasked()
	b.closed = b.closed || unasked
	b.mu.Unlock()
	if !unasked {
		return func() {}
	}
	b.conn.deaf.Store(true)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, b.conn.Conn)
		gone()
	}()
	return func() {
		_ = b.conn.SetReadDeadline(time.Unix(1, 0))
		<-over
	}
}

// isLast reports whether the connection ends with the answer to the body's request.
func (b *body) isLast() bool {
	if b == nil || b.conn == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed != nil || b.unasked()
}
