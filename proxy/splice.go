package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"time"
)

// bufferSize is what one read takes at most: two TLS records and what one write gives back.
const bufferSize = 32 << 10

// closeLinger bounds what is left to do when the other direction has ended and nothing more can come of this one: with a
// CloseTimeout of zero, and when the receiving side is gone. It lets a peer read what it was sent: closing at once, with
// bytes of the peer unread, would reset the connection and lose that.
const closeLinger = 2 * time.Second

// direction is what flows one way.
type direction struct {
	moved      atomic.Int64 // bytes written to the receiving side
	lastActive atomic.Int64 // when, in nanoseconds since the connection was accepted; kept for the idle clock alone

	// conn.mu guards these.
	ended      bool // the sending side has ended, and that was passed on
	discarding bool // the receiving side is gone
	reset      bool // … and it went away by a reset
}

// splice copies both ways until both directions have ended or the connection is cut.
func (c *conn) splice() {
	c.startClocks()
	done := make(chan struct{})
	go c.spliceDown(done)
	c.copy(&c.up, &c.down, c.client, c.target)
	<-done
	c.end(reasonEOF)
}

func (c *conn) spliceDown(done chan<- struct{}) {
	defer close(done)
	c.copy(&c.down, &c.up, c.target, c.client)
}

// copy moves bytes from one side to the other until the first ends, and passes that end on.
func (c *conn) copy(flow, back *direction, from, to *side) {
	buf := c.server.buffers.Get().(*[bufferSize]byte)
	defer c.server.buffers.Put(buf)

	discarding := false
	for {
		n, err := from.Read(buf[:])
		if n > 0 && !discarding {
			if _, werr := to.Write(buf[:n]); werr != nil {
				discarding = true
				c.receiverGone(flow, back, to, werr)
			} else {
				flow.moved.Add(int64(n))
			}
			c.touch(flow)
		}
		if err != nil {
			c.senderEnded(flow, back, from, to, err)
			return
		}
	}
}

// senderEnded handles the end of what one side sends.
//
// An end of stream is passed on, and the other direction may go on for CloseTimeout. A TLS stream that ends without
// close_notify counts as ended too (many clients end like that, and their bytes must arrive), but is told in the reason.
// Anything else is a failure of the sending side: the other one must not take what it got for the whole.
func (c *conn) senderEnded(flow, back *direction, from, to *side, err error) {
	truncated := errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF && from.truncated()
	failed := err != io.EOF && !truncated

	c.mu.Lock()
	if c.finished {
		c.mu.Unlock()
		return
	}
	// A reset is reported once: after a write met it, the read sees a plain end.
	if failed || back.reset {
		c.cutLocked(c.copyReason(from, err))
		c.mu.Unlock()
		return
	}
	if truncated {
		c.endLocked(reasonTruncated)
	}
	flow.ended = true
	atOnce := c.server.CloseTimeout == 0 && !back.ended
	c.boundTheOther(flow, back)
	passOn := !flow.discarding
	c.mu.Unlock()

	if passOn {
		to.endWriting() // may wait for a slow reader; the clock set above bounds it
	}
	if atOnce {
		c.cut(reasonEOF)
	}
}

// receiverGone handles a failed write. The receiving side may have sent an answer before it went away, so the back direction
// is read to its end; what the sending side still sends is dropped meanwhile.
func (c *conn) receiverGone(flow, back *direction, to *side, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	flow.discarding = true
	flow.reset = errors.Is(err, syscall.ECONNRESET)
	reason := reasonClosed
	if flow.reset {
		reason = reasonReset
	}
	c.endLocked(c.sided(to, reason))
	c.boundTheOther(flow, back)
}

// boundTheOther sets the clock by which the direction that still runs has to end. c.mu is held.
func (c *conn) boundTheOther(flow, back *direction) {
	if flow.ended == back.ended {
		return // both ended; or none did: the receiver is gone, and what it sent is still being read
	}
	left := flow
	if flow.ended {
		left = back
	}
	limit := c.server.CloseTimeout
	if futile := limit == 0 || left.discarding; futile && (limit <= 0 || limit > closeLinger) {
		limit = closeLinger
	}
	if limit < 0 {
		return
	}
	if c.closing != nil {
		c.closing.Stop()
	}
	c.closing = time.AfterFunc(limit, func() { c.cut(reasonCloseTimeout) })
}

// copyReason is the reason for a failed read from a side.
func (c *conn) copyReason(from *side, err error) string {
	switch reason := reasonOf(err); reason {
	case reasonReset:
		return c.sided(from, reasonReset)
	case reasonPeerAlert:
		return c.sided(from, reasonAlert)
	default:
		return reason
	}
}

// sided says whose doing it was.
func (c *conn) sided(s *side, reason string) string {
	if s == c.client {
		return "client_" + reason
	}
	return "target_" + reason
}

// startClocks starts the idle and the lifetime clock.
func (c *conn) startClocks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	if limit := c.server.MaxLifetime; limit > 0 {
		c.lifetime = time.AfterFunc(limit, func() { c.cut(reasonLifetime) })
	}
	if limit := c.server.IdleTimeout; limit > 0 {
		c.touch(&c.up)
		c.idle = time.AfterFunc(limit, c.checkIdle)
	}
}

// touch notes that bytes moved.
func (c *conn) touch(flow *direction) {
	if c.server.IdleTimeout > 0 {
		flow.lastActive.Store(int64(time.Since(c.accepted)))
	}
}

// checkIdle cuts a connection that was idle for too long, and else looks again when it could be. One timer for the whole life
// of a connection is much cheaper than a deadline for each read.
func (c *conn) checkIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	last := time.Duration(max(c.up.lastActive.Load(), c.down.lastActive.Load()))
	if left := c.server.IdleTimeout - (time.Since(c.accepted) - last); left > 0 {
		c.idle.Reset(left)
		return
	}
	c.cutLocked(reasonIdleTimeout)
}
