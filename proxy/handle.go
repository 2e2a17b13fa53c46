package proxy

import (
	"context"
	"time"
)

// handle has Server.Handle take care of the client.
func (c *conn) handle() {
	c.settled()
	if err := c.take(); err != nil {
		c.fail(stageOf(err), err)
		return
	}
	ctx, cancel := context.WithCancel(c.server.staying)
	defer cancel()
	c.open()
	c.startHandleClocks(cancel)
	if c.client.wire != nil {
		c.client.wire.timed = true
	}
	client := &Client{Conn: c.client.Conn, conn: c}
	c.server.Handle(ctx, client)
	_ = client.Close()
}

// take makes the connection an established one, once its client has passed the latest Recheck.
func (c *conn) take() error {
	for {
		latest := c.server.verdict.Load()
		if latest != c.passed {
			if err := c.client.verify(*latest); err != nil {
				return &handshakeError{err: err}
			}
			c.passed = latest
		}
		if done, err := c.takeAs(latest); done {
			return err
		}
	}
}

// takeAs is the end of take, unless there was a Recheck since.
func (c *conn) takeAs(latest *verdict) (done bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.finished || c.server.ctx.Err() != nil:
		return true, ErrServerClosed
	case c.server.verdict.Load() != latest:
		return false, nil
	}
	c.handled, c.state = true, StateOpen
	return true, nil
}

// startHandleClocks starts the idle and the lifetime clock. After its lifetime a connection is told to come to an end; so it
// does between two requests, say, rather than in the middle of one.
func (c *conn) startHandleClocks(tell func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	if limit := c.server.IdleTimeout; limit > 0 {
		c.touch(&c.up)
		c.idle = time.AfterFunc(limit, c.checkIdle)
	}
	if limit := c.server.MaxLifetime; limit > 0 {
		c.lifetime = time.AfterFunc(limit, func() { c.expire(tell) })
	}
}

// expire ends a handled connection by its age.
func (c *conn) expire(tell func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	c.remarkLocked(reasonLifetime)
	if limit := c.server.CloseTimeout; limit >= 0 {
		c.closing = time.AfterFunc(limit, func() { c.cut(reasonLifetime) })
	}
	tell()
}
