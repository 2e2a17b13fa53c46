package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Client is a connection with a client that was let in, as Server.Handle gets it. Its addresses are those of a PROXY header, if
// there was one. It ends by a call to Close or to Abort, or by what ends forwarded connections too.
type Client struct {
	net.Conn // the plain one, or the TLS session

	conn    *conn
	writing sync.Mutex // one write at a time may be many records
	closed  atomic.Bool
}

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

// ConnectionState is that of the TLS session; the zero value where there is none.
func (c *Client) ConnectionState() tls.ConnectionState {
	if c.conn.client.tls == nil {
		return tls.ConnectionState{}
	}
	return c.conn.client.tls.ConnectionState()
}

// Secure reports whether there is a TLS session.
func (c *Client) Secure() bool { return c.conn.client.tls != nil }

// Route is the name of the route that the client goes by; "" is none.
func (c *Client) Route() string {
	if c.conn.route == nil {
		return ""
	}
	return c.conn.route.Name
}

// RemoteAddr is from where the client connected.
func (c *Client) RemoteAddr() net.Addr { return c.conn.remote }

// LocalAddr is to where it did.
func (c *Client) LocalAddr() net.Addr { return c.conn.local }

func (c *Client) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.conn.touch(&c.conn.up)
	c.conn.up.moved.Add(int64(n))
	c.remark(err)
	return n, err
}

func (c *Client) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.touch(&c.conn.down)
	n, err := c.conn.client.write(p)
	c.conn.touch(&c.conn.down)
	c.conn.down.moved.Add(int64(n))
	c.remark(err)
	return n, err
}

// remark notes what a read or a write tells of how the connection ends. A deadline ends nothing: it is the handler's.
func (c *Client) remark(err error) {
	if err == nil || c.closed.Load() || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	remark := ""
	switch {
	case err != io.EOF:
		remark = c.conn.sided(c.conn.client, copyReason(err))
	case c.conn.client.truncated():
		remark = reasonNoCloseNotify
	}
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	if !c.conn.finished {
		c.conn.remarkLocked(remark)
	}
}

// CloseWrite ends the writing: the client sees the end of what it is sent, and may go on sending.
func (c *Client) CloseWrite() error {
	_ = c.SetWriteDeadline(time.Now().Add(closeLinger))
	c.conn.client.endWriting()
	return nil
}

// Close ends both directions in an orderly way. It does not wait for a client that does not read.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if c.conn.client.tls != nil {
		_ = c.CloseWrite()
	}
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.down.ended = true
	c.conn.closeBoth()
	return nil
}

// Abort ends the connection so that the client cannot take what it got for the whole. It is for when a target has failed in the
// middle of it.
func (c *Client) Abort() {
	if !c.closed.Swap(true) {
		c.conn.cut("target_" + reasonOther)
	}
}

// SetDeadline sets that of the socket.
func (c *Client) SetDeadline(t time.Time) error { return c.conn.client.socket.SetDeadline(t) }

// SetReadDeadline sets that of the socket.
func (c *Client) SetReadDeadline(t time.Time) error { return c.conn.client.socket.SetReadDeadline(t) }

// SetWriteDeadline sets that of the socket.
func (c *Client) SetWriteDeadline(t time.Time) error {
	return c.conn.client.socket.SetWriteDeadline(t)
}
