package webproxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// errTooLarge is a body of a request that is larger than Proxy.MaxBodyBytes.
var errTooLarge = errors.New("the request's body is too large")

// errStalled is a target that takes no more of a request.
var errStalled = errors.New("the target takes no more of the request")

// body is that of a request on its way to the target. Go's HTTP client reads it, and may do so for a moment longer than the
// request is in hand.
type body struct {
	source   io.ReadCloser
	deadline func(time.Time) error // of the client's connection, or stream, for reads
	patience time.Duration         // for the client; 0: without end
	most     int64                 // bytes; 0: no bound
	trailer  http.Header           // is there when the body has ended
	stall    stall
	read     atomic.Int64

	mu     sync.Mutex
	closed bool
	whole  bool
	failed error // why it did not come to its end
}

// Read waits for the client, as long as that may take.
func (b *body) Read(p []byte) (int, error) {
	if b.isClosed() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.stall.pause()
	if b.patience > 0 {
		_ = b.deadline(time.Now().Add(b.patience))
	}
	n, err := b.source.Read(p)
	total := b.read.Add(int64(n))
	switch {
	case b.most > 0 && total > b.most:
		n, err = 0, errTooLarge
		b.fail(err)
	case err == io.EOF:
		b.complete()
		removeOurs(b.trailer)
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
	if b.patience > 0 {
		_ = b.deadline(time.Time{})
	}
}

func (b *body) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
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

// end keeps the body from being read after its request is over. Go's server reads some of what is left of it, to spare the
// connection. It must not wait for that.
func (b *body) end() {
	if b == nil {
		return
	}
	b.stall.end()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	switch {
	case b.whole:
	case b.failed != nil:
		_ = b.deadline(time.Unix(1, 0))
	default:
		_ = b.deadline(time.Now().Add(quiet))
	}
}

// stall is the clock of a target that is to take more of a request. The zero value never runs.
type stall struct {
	limit time.Duration
	timer *time.Timer
	mu    sync.Mutex
	ended bool
}

// start has it call expired when the target lets it run for the limit.
func (s *stall) start(limit time.Duration, expired func()) {
	if limit > 0 {
		s.limit, s.timer = limit, time.AfterFunc(limit, expired)
		s.timer.Stop()
	}
}

func (s *stall) pause() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

func (s *stall) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil && !s.ended {
		s.timer.Reset(s.limit)
	}
}

// end stops it for good.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.pause()
}
