package proxy

import (
	"sync/atomic"
	"time"
)

// patience is the clock of a client that is to take what it is sent. It runs while a write does. The zero value is endless.
type patience struct {
	limit atomic.Int64 // nanoseconds; zero or less is none
	since atomic.Int64 // when the write in progress began, in nanoseconds since the connection was accepted; 0: there is none
	armed atomic.Bool  // the timer runs

	// conn.mu guards these.
	timer  *time.Timer // nil until it is armed for the first time
	unsent int         // what was in the send buffer when it last looked
}

// BoundWrites has the connection cut when the client takes nothing of what is being written to it for so long. Zero, as at
// first, is no bound. Where the system tells how much of what was written is still on its way, a client that takes it slowly
// has all the time that it needs, and one that takes nothing may have twice the limit.
func (c *Client) BoundWrites(limit time.Duration) { c.conn.patience.limit.Store(int64(limit)) }

// begin says that a write begins. There is one at a time.
func (p *patience) begin(c *conn) {
	if limit := time.Duration(p.limit.Load()); limit > 0 {
		p.since.Store(max(int64(time.Since(c.accepted)), 1))
		if !p.armed.Swap(true) {
			p.arm(c, limit)
		}
	}
}

// end says that it is over. The timer is left alone: it finds that out, at less cost than to stop it each time.
func (p *patience) end() { p.since.Store(0) }

func (p *patience) arm(c *conn, limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.finished:
	case p.timer == nil:
		p.timer = time.AfterFunc(limit, c.checkTaken)
	default:
		p.timer.Reset(limit)
	}
}

// checkTaken cuts a connection whose client has taken nothing for too long, and else looks again when that could be, if
// anything is being written.
func (c *conn) checkTaken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.patience
	p.armed.Store(false) // before it is looked whether a write is in progress, so that none goes without the clock
	since, limit := p.since.Load(), time.Duration(p.limit.Load())
	if c.finished || since == 0 || limit <= 0 {
		return
	}
	left := limit - (time.Since(c.accepted) - time.Duration(since))
	if left <= 0 && draining(&p.unsent, c.client) {
		left = limit
	}
	if left <= 0 {
		c.cutLocked(reasonStalled)
		return
	}
	p.armed.Store(true)
	p.timer.Reset(left)
}

// stalledError is a write that came to its end by that.
type stalledError struct{ error }

func (e *stalledError) Error() string { return "the client takes nothing of what it is sent" }

// Unwrap is the error that the write met.
func (e *stalledError) Unwrap() error { return e.error }

// Reason names it in metrics and in the log.
func (e *stalledError) Reason() string { return reasonStalled }

// stalled is the error of a write that failed with err.
func (c *conn) stalled(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == reasonStalled {
		return &stalledError{err}
	}
	return err
}
