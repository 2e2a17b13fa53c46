package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client is a connection with a client that was let in, as Server.Handle gets it. Its addresses are those of a PROXY header, if
// there was one. It ends by a call to Close, Abort, Drop or Expire, or by what ends forwarded connections too.
type Client struct {
	net.Conn // the plain one, or the TLS session

	conn    *conn
	writing sync.Mutex // one write at a time may be many records
	closed  atomic.Bool
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

// WriteTo sends w all that the client sends. While nothing comes it keeps no buffer. Nobody may read before it returns.
func (c *Client) WriteTo(w io.Writer) (int64, error) {
	return pour(w, c.conn.client.stream(&c.conn.server.buffers), func(n int, err error) {
		c.conn.touch(&c.conn.up)
		c.conn.up.moved.Add(int64(n))
		c.remark(err)
	})
}

func (c *Client) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.touch(&c.conn.down)
	c.conn.patience.begin(c.conn)
	n, err := c.conn.client.write(p)
	c.conn.patience.end()
	c.conn.touch(&c.conn.down)
	c.conn.down.moved.Add(int64(n))
	if err != nil {
		c.remark(err)
		err = c.conn.stalled(err)
	}
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
	if err := c.SetWriteDeadline(time.Now().Add(closeLinger)); err != nil {
		return err // one who was cut off must not be told that this was all
	}
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
// middle of that.
func (c *Client) Abort() {
	if !c.closed.Swap(true) {
		c.conn.cut("target_" + reasonOther)
	}
}

// Drop is Abort for when it is the client that has gone away, before it had taken all.
func (c *Client) Drop() {
	if c.closed.Swap(true) {
		return
	}
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	reason := "client_" + reasonClosed
	if strings.HasPrefix(c.conn.remark, "client_") { // which tells more
		reason = c.conn.remark
	}
	c.conn.cutLocked(reason)
}

// Expire is Abort for when one direction went on for too long after the other had ended.
func (c *Client) Expire() {
	if !c.closed.Swap(true) {
		c.conn.cut(reasonCloseTimeout)
	}
}

// SetDeadline sets that of the socket, as long as the connection has not been ended: whoever is cut off is heard no more, though
// the socket may stay for a moment, until the client has what was written.
func (c *Client) SetDeadline(t time.Time) error { return c.set(net.Conn.SetDeadline, t) }

// SetReadDeadline is as SetDeadline, for reads.
func (c *Client) SetReadDeadline(t time.Time) error { return c.set(net.Conn.SetReadDeadline, t) }

// SetWriteDeadline is as SetDeadline, for writes.
func (c *Client) SetWriteDeadline(t time.Time) error { return c.set(net.Conn.SetWriteDeadline, t) }

func (c *Client) set(deadline func(net.Conn, time.Time) error, t time.Time) error {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	if c.conn.finished {
		return net.ErrClosed
	}
	return deadline(c.conn.client.socket, t)
}
