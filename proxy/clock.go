package proxy

import "time"

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

// touch notes that bytes move.
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
	left := c.server.IdleTimeout - (time.Since(c.accepted) - last)
	if left <= 0 {
		// Both are looked at each time, so that what each remembers is of one age.
		up, down := c.target != nil && draining(&c.up.unsent, c.target), draining(&c.down.unsent, c.client)
		if up || down {
			left = c.server.IdleTimeout
		}
	}
	if left > 0 {
		c.idle.Reset(left)
		return
	}
	c.cutLocked(reasonIdleTimeout)
}

// draining reports whether bytes that were written have left for the receiving side since a clock last looked, which keeps how
// many were unsent then. A write returns when all of it is in the socket's send buffer, and the system lets the next one go on
// only when much of that buffer is free again: to a slow reader that may take long, with bytes flowing all the while.
func draining(before *int, to *side) bool {
	unsent, known := unsentBytes(to.socket)
	progress := known && unsent != *before
	*before = unsent
	return progress
}
