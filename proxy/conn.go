package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// conn is one connection on its way through the stages. One goroutine runs serve; splice adds one for the second direction.
type conn struct {
	server   *Server
	id       uint64
	accepted time.Time
	source   netip.Addr // counted in server.sources; the zero Addr if it is not
	crowded  error      // there are too many from that address
	settling bool       // it has a slot of server.settling; serve alone uses this
	client   *side      // who connected
	target   *side      // nil until dialled
	passed   *verdict   // the latest Recheck that both have passed

	up, down direction // client to target, target to client

	mu       sync.Mutex
	reason   string // why it ended; the first one stands
	remark   string // what is to be told of it if nothing ended it but its two ends
	finished bool   // both sides are closed
	idle     *time.Timer
	lifetime *time.Timer
	closing  *time.Timer
}

func newConn(s *Server, accepted net.Conn) *conn {
	return &conn{
		server:   s,
		id:       s.lastID.Add(1),
		accepted: time.Now(),
		settling: true,
		client:   newSide(accepted),
		passed:   s.verdict.Load(),
	}
}

// serve takes the connection through its stages, and leaves nothing of it behind.
func (c *conn) serve() {
	if accepted := c.server.Observer.Accepted; accepted != nil {
		accepted()
	}
	defer c.finish()

	if c.crowded != nil {
		c.fail(stageLimit, c.crowded)
		return
	}
	if err := c.handshake(); err != nil {
		c.fail(stageHandshake, err)
		return
	}
	if c.challenged() {
		return
	}
	if err := c.dial(); err != nil {
		c.fail(stageOf(err), err)
		return
	}
	c.settled() // without TLS toward the client, dialling is what has to be over
	c.open()
	c.splice()
}

// handshake makes the client's side TLS, if that is what the server does, and has the peer authorized by it.
func (c *conn) handshake() error {
	if c.server.TLS == nil {
		return nil
	}
	ctx, cancel := bounded(c.server.ctx, c.server.HandshakeTimeout)
	defer cancel()

	socket := c.client.socket
	under := &wire{Conn: socket}
	session := tls.Server(under, c.server.TLS)
	if err := shake(ctx, session, under, c.server.Gate, c.server.Observer.Handshake); err != nil {
		err = &handshakeError{err: err, silent: !under.received, peer: session.ConnectionState()}
		lingerAfterAlert(ctx, socket, err)
		return err
	}
	c.settled()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = newSide(session)
	return nil
}

// settled gives up what MaxHandshakes counts, unless that was done before.
func (c *conn) settled() {
	if c.settling {
		c.settling = false
		c.server.settling.give()
	}
}

// dial connects the target's side.
func (c *conn) dial() error {
	ctx, cancel := bounded(c.server.ctx, c.server.DialTimeout)
	defer cancel()

	target, err := c.server.Dial(ctx)
	if err != nil {
		// Dialers report the end of their context in words of their own; what matters is who ended it.
		if cause := context.Cause(ctx); cause != nil && !errors.As(err, new(*interruptedError)) {
			return &interruptedError{cause: cause, err: err}
		}
		return err
	}
	return c.admit(newSide(target))
}

// open announces that forwarding begins.
func (c *conn) open() {
	if opened := c.server.Observer.Opened; opened != nil {
		opened()
	}
	c.log(QuietConns, slog.LevelInfo, "opening pipe")
}

// fail ends a connection that did not come to be forwarded.
func (c *conn) fail(stage string, err error) {
	reason := c.end(reasonOf(err))
	if failed := c.server.Observer.Failed; failed != nil {
		failed(stage, reason)
	}
	message, class, level := "error on dial", QuietConnErrs, slog.LevelError
	switch stage {
	case stageHandshake:
		message, class, level = "error on TLS handshake", QuietHandshakeErrs, slog.LevelWarn
	case stageLimit:
		message, level = "error on accept", slog.LevelWarn
	}
	if reason == reasonClientAbort || reason == reasonShutdown {
		level = slog.LevelDebug // a port probe, or our own doing: nothing that anybody has to look at
	}
	c.log(class, level, message, append(c.shown(err), slog.String("reason", reason), slog.Any("error", err))...)
}

// shown is, for log lines, as whom the peer of a failed handshake showed itself, if it got that far. Nobody vouches for that:
// it may have been refused because it is somebody else.
func (c *conn) shown(err error) []slog.Attr {
	var handshake *handshakeError
	if c.server.Identify == nil || !errors.As(err, &handshake) || len(handshake.peer.PeerCertificates) == 0 {
		return nil
	}
	return []slog.Attr{slog.String("identity", c.server.Identify(handshake.peer))}
}

// finish closes what is open and says that the connection is over.
func (c *conn) finish() {
	c.mu.Lock()
	opened := c.target != nil
	c.closeBoth()
	reason := cmp.Or(c.reason, c.remark, reasonEOF)
	c.mu.Unlock()

	lifetime := time.Since(c.accepted)
	if closed := c.server.Observer.Closed; closed != nil {
		closed(lifetime, reason)
	}
	if opened {
		c.log(QuietConns, slog.LevelInfo, "closed pipe",
			slog.Int64("bytes_in", c.up.moved.Load()), slog.Int64("bytes_out", c.down.moved.Load()),
			slog.Duration("duration", lifetime), slog.String("reason", reason))
	}
	c.settled()
	c.server.finish(c)
}

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
	established := c.target != nil && !c.finished
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
	for _, timer := range []*time.Timer{c.idle, c.lifetime, c.closing} {
		if timer != nil {
			timer.Stop()
		}
	}
	if c.server.TLS != nil && c.client.tls == nil {
		c.client.close()
		return
	}
	c.client.closeAfter(&c.down)
	if c.target != nil {
		c.target.closeAfter(&c.up)
	}
}

// log writes an event of the connection, unless its class or level is left out.
func (c *conn) log(class Quiet, level slog.Level, message string, more ...slog.Attr) {
	ctx := context.Background()
	if c.server.Quiet&class == 0 && c.server.Log.Enabled(ctx, level) {
		c.server.Log.LogAttrs(ctx, level, message, append(c.attrs(), more...)...)
	}
}

// attrs describes the connection in log lines.
func (c *conn) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.Uint64("conn", c.id), slog.String("remote", addr(c.client.socket.RemoteAddr())))
	session := c.client.tls
	if c.target != nil {
		attrs = append(attrs, slog.String("target", addr(c.target.socket.RemoteAddr())))
		if session == nil {
			session = c.target.tls
		}
	}
	if session == nil {
		return attrs
	}
	state := session.ConnectionState()
	if c.server.Identify != nil {
		attrs = append(attrs, slog.String("identity", clip(c.server.Identify(state))))
	}
	if state.ServerName != "" {
		attrs = append(attrs, slog.String("server_name", clip(state.ServerName)))
	}
	if state.NegotiatedProtocol != "" {
		attrs = append(attrs, slog.String("alpn", clip(state.NegotiatedProtocol)))
	}
	return append(attrs, slog.String("tls_version", tls.VersionName(state.Version)))
}

// clip cuts text that a peer chose to 256 bytes: it could fill the log with it before anybody has let it in.
func clip(text string) string {
	const limit = 256
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// addr names an address; the unnamed end of a UNIX socket is told by its network.
func addr(a net.Addr) string {
	if text := a.String(); text != "" && text != "@" {
		return text
	}
	return a.Network()
}

// bounded is context.WithTimeout where a limit is set.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}
