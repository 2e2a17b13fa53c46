package webproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// quiet is how long a connection without a request stays open once it is to end. A request that is on its way then is still
// answered; closing at once would lose it.
const quiet = 2 * time.Second

// What a client may still send when its connection is closed in the middle of a request.
const (
	closeLinger      = 500 * time.Millisecond
	closeLingerBytes = 16 << 20
)

// preface is what HTTP/2 begins with (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// conn is a client's connection, as Go's HTTP server gets it.
type conn struct {
	net.Conn

	session *tls.ConnectionState // nil without TLS
	address netip.Addr           // of the client; the zero Addr if it has none
	proof   string               // X-Forwarded-Client-Cert; "" if it showed none
	unread  []byte               // what was read to see what it is
	over    chan struct{}        // closed when it is over
	accept  chan struct{}        // closed when no more is to be accepted of it
	deaf    atomic.Bool          // what comes is no request any more
	sent    atomic.Int64         // bytes to the client
	stalled atomic.Bool          // which took nothing of them for too long

	mu      sync.Mutex
	http2   *http.Server // its own, if it speaks that
	taken   bool         // its server has accepted it
	begun   bool         // and served it so far that GOAWAY can be sent
	closed  bool
	shut    bool
	ending  bool // no more requests are wanted
	idle    bool // none is in hand
	closing *time.Timer
}

// secured is a connection that tells of its TLS session.
type secured interface {
	Secure() bool
	ConnectionState() tls.ConnectionState
}

func newConn(client net.Conn) *conn {
	c := &conn{Conn: client, over: make(chan struct{}), accept: make(chan struct{}), idle: true}
	if at, ok := client.RemoteAddr().(interface{ AddrPort() netip.AddrPort }); ok {
		c.address = at.AddrPort().Addr().Unmap().WithZone("")
	}
	if client, ok := client.(secured); ok && client.Secure() {
		state := client.ConnectionState()
		c.session = &state
		if len(state.PeerCertificates) > 0 {
			c.proof = clientCert(state.PeerCertificates[0])
		}
	}
	return c
}

// connKey is where the context of a request has its conn.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(r *http.Request) *conn { return r.Context().Value(connKey{}).(*conn) }

// speaksHTTP2 finds out which HTTP the client speaks: by ALPN, or by how it begins where there is no TLS. An error is that
// nothing came of which that could be told.
func (c *conn) speaksHTTP2(limit time.Duration) (bool, error) {
	if c.session != nil {
		return c.session.NegotiatedProtocol == "h2", nil
	}
	if limit > 0 {
		_ = c.SetReadDeadline(time.Now().Add(limit))
	}
	begin := make([]byte, len(preface))
	for n := 0; n < len(begin); {
		more, err := c.Conn.Read(begin[n:])
		if err != nil && more == 0 {
			return false, err
		}
		n += more
		if c.unread = begin[:n]; !strings.HasPrefix(preface, string(c.unread)) {
			break
		}
	}
	_ = c.SetReadDeadline(time.Time{})
	return string(c.unread) == preface, nil
}

func (c *conn) Read(p []byte) (int, error) {
	if c.deaf.Load() {
		return 0, io.EOF
	}
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// boundWrites has the connection end when the client takes nothing of what it is sent for so long, if that is to be had; zero is
// no bound.
func (c *conn) boundWrites(limit time.Duration) {
	if client, ok := c.Conn.(interface{ BoundWrites(time.Duration) }); ok {
		client.BoundWrites(limit)
	}
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	if err != nil {
		named, ok := errors.AsType[reasoned](err)
		c.stalled.Store(ok && named.Reason() == reasonClientStalled)
	}
	return n, err
}

// CloseWrite ends the writing.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends the connection. A client that is not heard any more is given the time to read why: closing at once, with bytes of
// its own unread, would reset the connection.
func (c *conn) Close() error {
	if c.deaf.Load() && !c.isClosed() {
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(closeLinger))
		_, _ = io.CopyN(io.Discard, c.Conn, closeLingerBytes)
	}
	err := c.Conn.Close()
	c.end()
	return err
}

// WriteTo sends w all that the client sends, without a buffer if the connection can do that.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	first, err := io.Copy(w, bytes.NewReader(c.unread))
	if c.unread = nil; err != nil {
		return first, err
	}
	rest, err := io.Copy(w, c.Conn)
	return first + rest, err
}

// abort ends the connection so that its client cannot take what it got for the whole: the target has failed.
func (c *conn) abort() {
	if connection, ok := c.Conn.(interface{ Abort() }); ok {
		connection.Abort()
	} else {
		_ = c.Conn.Close()
	}
	c.end()
}

// drop is abort for a client that has gone away.
func (c *conn) drop() {
	if connection, ok := c.Conn.(interface{ Drop() }); ok {
		connection.Drop()
	}
	c.abort() // which comes too late then
}

// expire is abort for one direction that went on for too long.
func (c *conn) expire() {
	if connection, ok := c.Conn.(interface{ Expire() }); ok {
		connection.Expire()
	}
	c.abort() // which comes too late then
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.closing != nil {
		c.closing.Stop()
	}
	close(c.over)
	c.shutLocked()
}

// follow takes note of what a connection is doing.
func follow(server net.Conn, state http.ConnState) {
	c := server.(*conn)
	c.mu.Lock()
	c.idle = state == http.StateNew || state == http.StateIdle
	begins := !c.begun && state != http.StateNew
	c.begun = c.begun || begins
	c.endWhenQuiet()
	late := begins && c.ending
	c.mu.Unlock()
	if late {
		c.sendGoAway()
	}
}

// goOver has the connection speak HTTP/2, with a server of its own.
func (c *conn) goOver(server *http.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http2 = server
	c.endWhenQuiet()
}

// endWhenQuiet sets the clock by which an idle connection that is to end does so, or stops it. c.mu is held.
func (c *conn) endWhenQuiet() {
	if c.closing != nil {
		c.closing.Stop()
		c.closing = nil
	}
	if c.ending && c.idle && !c.closed && c.http2 == nil {
		c.closing = time.AfterFunc(quiet, func() { _ = c.Close() })
	}
}

// drain has the connection end when what is in hand is done.
func (c *conn) drain() {
	c.mu.Lock()
	c.ending = true
	c.endWhenQuiet()
	begun := c.begun
	c.mu.Unlock()
	if begun { // else its server would not begin any more
		c.sendGoAway()
	}
}

// sendGoAway tells a client of HTTP/2 to send no more requests.
func (c *conn) sendGoAway() {
	c.mu.Lock()
	server := c.http2
	c.mu.Unlock()
	if server != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel() // it is not waited for
		_ = server.Shutdown(ended)
	}
}

// isEnding reports whether the client should send no more requests.
func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// listener accepts the connection, and nothing more until that is over.
func (c *conn) listener() net.Listener { return (*single)(c) }

// single is the listener of one connection.
type single conn

// Accept returns the connection, and then waits for its end.
func (s *single) Accept() (net.Conn, error) {
	s.mu.Lock()
	taken := s.taken
	s.taken = true
	s.mu.Unlock()
	if !taken {
		return (*conn)(s), nil
	}
	<-s.accept
	return nil, io.EOF
}

// Close ends the accepting; the connection goes on.
func (s *single) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	(*conn)(s).shutLocked()
	return nil
}

// shutLocked ends the accepting. c.mu is held.
func (c *conn) shutLocked() {
	if !c.shut {
		c.shut = true
		close(c.accept)
	}
}

// Addr is the local address of the connection.
func (s *single) Addr() net.Addr { return s.LocalAddr() }
