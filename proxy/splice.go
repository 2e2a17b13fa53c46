package proxy

import (
	"cmp"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// closeLinger bounds what is left to do when bytes are still taken from a side but no longer forwarded, because the other
// side is gone or because CloseTimeout is zero. It lets the side read what it was sent: closing at once, with bytes of its
// own unread, would reset the connection and lose that. It bounds what a reset waits for likewise.
const closeLinger = 2 * time.Second

// direction is what flows one way.
type direction struct {
	moved      atomic.Int64 // bytes written to the receiving side
	lastActive atomic.Int64 // when, in nanoseconds since the connection was accepted; kept for the idle clock alone
	discarding atomic.Bool  // what the sending side still sends is dropped
	writing    sync.Mutex   // held by a write until what it met is noted

	// conn.mu guards these.
	ended  bool // the sending side has ended, and that was passed on
	lost   bool // the receiving side failed, and did not just go away
	unsent int  // what the idle clock found in the receiving side's send buffer when it last looked
}

// splice copies both ways until both directions have ended or the connection is cut.
func (c *conn) splice() {
	c.startClocks()
	done := make(chan struct{})
	go c.spliceDown(done)
	c.copy(&c.up, &c.down, c.client, c.target)
	<-done
}

func (c *conn) spliceDown(done chan<- struct{}) {
	defer close(done)
	c.copy(&c.down, &c.up, c.target, c.client)
}

// copy moves bytes from one side to the other until the first ends, and passes that end on.
func (c *conn) copy(flow, back *direction, from, to *side) {
	in := from.stream(&c.server.buffers)
	for {
		p, err := in.next()
		if len(p) > 0 && !flow.discarding.Load() {
			c.forward(flow, back, to, p)
		}
		in.done()
		if err != nil {
			c.senderEnded(flow, back, from, to, err)
			return
		}
	}
}

// forward writes what was read to the receiving side.
func (c *conn) forward(flow, back *direction, to *side, p []byte) {
	flow.writing.Lock()
	defer flow.writing.Unlock()
	c.touch(flow)
	n, err := to.write(p)
	c.touch(flow)
	flow.moved.Add(int64(n))
	if err != nil {
		c.receiverGone(flow, back, to, err)
	}
}

// senderEnded handles the end of what one side sends.
//
// An end of stream is passed on, and the other direction may go on for CloseTimeout. A TLS stream that ends between two
// records without close_notify counts as ended too (many clients end like that, and their bytes must arrive), but is told in
// the reason. Anything else is a failure of the sending side: the other one must not take what it got for the whole.
func (c *conn) senderEnded(flow, back *direction, from, to *side, err error) {
	if err == io.EOF && isDead(from.socket) {
		// The system reports a failure once. If a write met it, this read saw a plain end, and the write returns now.
		back.writing.Lock()
		back.writing.Unlock() //nolint:staticcheck // an empty critical section is how to wait for its holder
	}
	c.mu.Lock()
	if c.finished {
		c.mu.Unlock()
		return
	}
	if err != io.EOF {
		c.cutLocked(c.sided(from, copyReason(err)))
		c.mu.Unlock()
		return
	}
	if back.lost {
		c.cutLocked(c.remark)
		c.mu.Unlock()
		return
	}
	if from.truncated() {
		c.remarkLocked(reasonNoCloseNotify)
	}
	flow.ended = true
	atOnce := c.server.CloseTimeout == 0 && !back.ended
	if atOnce {
		back.discarding.Store(true)
	}
	c.boundTheOther(flow, back)
	passOn := !flow.discarding.Load()
	c.mu.Unlock()

	if passOn {
		to.endWriting() // may wait for a slow reader; the clock set above bounds it
	}
	if atOnce {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.finished {
			c.closeAfter(from, back)
		}
	}
}

// receiverGone handles a failed write. The receiving side may have sent an answer before it went away, so the back direction
// is read to its end; what the sending side still sends is dropped meanwhile.
func (c *conn) receiverGone(flow, back *direction, to *side, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished || flow.discarding.Swap(true) {
		return
	}
	reason := reasonClosed
	if flow.lost = !errors.Is(err, syscall.EPIPE); flow.lost {
		reason = copyReason(err)
	}
	c.remarkLocked(c.sided(to, reason))
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
	limit, reason := c.server.CloseTimeout, reasonCloseTimeout
	if left.discarding.Load() {
		limit, reason = closeLinger, "" // nothing is lost by it: what is to be told has been remarked
	}
	if limit < 0 {
		return
	}
	if c.closing != nil {
		c.closing.Stop()
	}
	c.closing = time.AfterFunc(limit, func() { c.cut(reason) })
}

// copyReason is the reason for a failure to copy, to be sided.
func copyReason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return reasonTruncated
	}
	switch reason := reasonOf(err); reason {
	case reasonReset, reasonBadTLSMessage, reasonNoHeader:
		return reason
	case reasonOversized:
		return reasonBadTLSMessage
	case reasonPeerAlert:
		return reasonAlert
	}
	if errors.As(err, new(syscall.Errno)) {
		return reasonGone
	}
	return reasonOther
}

// sided says whose doing it was.
func (c *conn) sided(s *side, reason string) string {
	if reason == reasonNoHeader { // as it is called where there is TLS
		return reason
	}
	if s == c.client {
		return "client_" + reason
	}
	return "target_" + reason
}

// remarkLocked notes what is to be told unless a clock or the server ends the connection; the first remark stands.
func (c *conn) remarkLocked(remark string) { c.remark = cmp.Or(c.remark, remark) }
