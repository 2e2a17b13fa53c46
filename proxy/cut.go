package proxy

import "time"

// An aborted side is reset once it has what was written to it, or does not take it for closeLinger. How long a reset waits
// between two looks at what is left:
const (
	firstLook = time.Millisecond
	lastLook  = 64 * time.Millisecond
)

// end notes why the connection ends, unless it was noted before, and returns what stands.
func (c *conn) end(reason string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endLocked(reason)
}

func (c *conn) endLocked(reason string) string {
	if c.reason == "" {
		c.reason = reason
	}
	return c.reason
}

// cut ends the connection from outside: both sockets are closed, so that whatever waits on them returns.
func (c *conn) cut(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutLocked(reason)
}

// shutDown cuts the connection, and reports whether it was an established one.
func (c *conn) shutDown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	established := (c.target != nil || c.handled) && !c.finished
	c.cutLocked(reasonShutdown)
	return established
}

func (c *conn) cutLocked(reason string) {
	c.endLocked(reason)
	c.closeBoth()
}

// closeBoth stops the clocks and closes the sockets. A side whose stream did not come to its end is aborted, so that it cannot
// take what it got for the whole; only after a failed handshake there is no stream yet. c.mu is held.
func (c *conn) closeBoth() {
	if c.finished {
		return
	}
	c.finished = true
	for _, timer := range []*time.Timer{c.idle, c.lifetime, c.closing, c.patience.timer} {
		if timer != nil {
			timer.Stop()
		}
	}
	if c.server.TLS != nil && c.client.tls == nil {
		c.client.close()
		return
	}
	c.closeAfter(c.client, &c.down)
	if c.target != nil {
		c.closeAfter(c.target, &c.up)
	}
}

// closeAfter closes a side to which a direction was copied, in a way that tells the truth about that direction. c.mu is held.
//
// A reset throws away what the peer has not been sent yet: the answer, say, with which a server refuses an upload before it
// resets the connection itself. So it waits for that, unless there is no time left, at the end of a drain.
func (c *conn) closeAfter(s *side, received *direction) {
	switch {
	case received.ended:
		s.close()
	case c.reason != reasonShutdown && s.resets() && s.owes():
		_ = s.socket.SetDeadline(time.Unix(1, 0)) // whoever waits for the peer returns now
		c.parting.Go(s.abortInTime)
	default:
		s.abort()
	}
}

// abortInTime is abort, when the peer has got what was written.
func (s *side) abortInTime() {
	until := time.Now().Add(closeLinger)
	for pause := firstLook; s.owes() && time.Now().Before(until); pause = min(2*pause, lastLook) {
		time.Sleep(pause) //nolint:forbidigo // nothing tells when a socket has sent all
	}
	s.abort()
}

// abort ends both directions so that the peer cannot take what it got for the whole: by a reset over TCP, and so that a TLS
// peer gets no close_notify. UNIX sockets know no resets.
func (s *side) abort() {
	if s.resets() {
		_ = s.socket.(lingerer).SetLinger(0)
	}
	_ = s.socket.Close()
	s.released()
}

// lingerer is a connection that can be reset.
type lingerer interface{ SetLinger(seconds int) error }

// resets reports whether abort is a reset. Where nobody knows what the peer has not been sent yet, a TLS peer gets all of
// that, and tells a cut by the missing close_notify.
func (s *side) resets() bool {
	if _, ok := s.socket.(lingerer); !ok {
		return false
	}
	if s.tls == nil {
		return true
	}
	_, known := unsentBytes(s.socket)
	return known
}

// owes reports whether something that was written is still to be sent, as far as can be known. To a peer that has reset the
// connection itself, nothing is.
func (s *side) owes() bool {
	unsent, known := unsentBytes(s.socket)
	return known && unsent > 0 && !isDead(s.socket)
}
