package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// TLSDialer returns a dial function that makes the client's part of a TLS handshake over each connection that dial returns.
// The context bounds both. An error of the handshake leaves no connection open. The handshakes go through the gate, which may
// be nil. A Server that dials with it observes them.
func TLSDialer(dial func(context.Context) (net.Conn, error), config *tls.Config, gate *Gate) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		socket, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		under := &wire{Conn: socket}
		session := tls.Client(under, config)
		if err := shake(ctx, session, under, true, gate); err != nil {
			_ = socket.Close()
			return nil, &handshakeError{err: err, target: true, took: under.took, peer: session.ConnectionState()}
		}
		return session, nil
	}
}

// Client makes the client's part of a TLS handshake with somebody on the way to a target, such as an HTTPS proxy, before the
// context ends. It goes through the gate, which may be nil. After an error the socket is for the caller to close.
func (g *Gate) Client(ctx context.Context, socket net.Conn, config *tls.Config) (net.Conn, error) {
	under := &wire{Conn: socket}
	session := tls.Client(under, config)
	if err := shake(ctx, session, under, true, g); err != nil {
		return nil, err
	}
	return session, nil
}

// shake completes the handshake of a session over the wire before the context ends. crypto/tls has this as HandshakeContext, at the price
// of a goroutine for each handshake; a deadline costs none.
func shake(ctx context.Context, session *tls.Conn, under *wire, client bool, gate *Gate) error {
	started := time.Now()
	stop := context.AfterFunc(ctx, func() { _ = under.Conn.SetDeadline(time.Unix(1, 0)) })
	err := under.through(gate.pass(ctx), client, session.Handshake)
	under.took = time.Since(started)
	if _, judged := errors.AsType[reasoned](err); !stop() && !judged { // a verdict tells more than that it took too long
		return &interruptedError{cause: context.Cause(ctx)}
	}
	return err
}

// Limits of lingerAfterAlert.
const (
	alertLinger      = 500 * time.Millisecond
	alertLingerBytes = 64 << 10
)

// lingerAfterAlert gives the peer of a refused handshake the time to read why. In TLS 1.3 a client may send data right behind
// its certificate; closing a socket with those bytes unread makes the kernel send a reset, which overtakes the alert.
func lingerAfterAlert(ctx context.Context, socket net.Conn, err error) {
	if ctx.Err() == nil && alertSent(err) {
		linger(ctx, socket)
	}
}

// linger ends the writing, and reads on for a moment.
func linger(ctx context.Context, socket net.Conn) {
	closeWrite(socket)
	_ = socket.SetReadDeadline(time.Now().Add(alertLinger))
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.CopyN(io.Discard, socket, alertLingerBytes)
}

// alertSent reports whether a failed handshake ended with an alert of ours: it did unless the connection itself was lost,
// the peer sent the alert, or what came was not TLS.
func alertSent(err error) bool {
	var op *net.OpError
	return !errors.Is(err, io.EOF) && !errors.As(err, &op) && !errors.As(err, new(tls.RecordHeaderError))
}

// wire is the socket under a TLS session. The deadlines of the socket belong to the proxy: crypto/tls would give the
// close_notify alert five seconds, and a peer that reads slowly would lose its end of stream. During a handshake it gives up
// the place at the gate for as long as the network lets it wait.
type wire struct {
	net.Conn

	remote net.Addr      // of a client that may stand behind a proxy; nil is that of the socket
	pass   *pass         // of the handshake in progress; nil before and after
	took   time.Duration // of the handshake, once it is over

	// Only whoever reads touches these.
	received bool // a byte came in
	ended    bool // the peer has ended its writing
}

func (w *wire) Read(p []byte) (int, error) {
	w.pass.leave()
	n, err := w.Conn.Read(p)
	w.received = w.received || n > 0
	w.ended = w.ended || err == io.EOF
	if err != nil {
		return n, err // it fails the handshake, and leaves nothing to compute
	}
	return n, w.pass.enter()
}

// Write leaves the gate: a handshake writes when it has computed, and reads next.
func (w *wire) Write(p []byte) (int, error) {
	w.pass.leave()
	return w.Conn.Write(p)
}

// through runs a handshake over the wire, which computes as long as it neither reads nor writes. A client computes before it
// writes; a server has nothing to compute before it has read.
func (w *wire) through(p *pass, client bool, handshake func() error) error {
	w.pass = p
	defer func() {
		p.leave()
		w.pass = nil // from here on two goroutines use the wire
	}()
	if client {
		if err := p.enter(); err != nil {
			return err
		}
	}
	return handshake()
}

// RemoteAddr is what tls.ClientHelloInfo tells of the client.
func (w *wire) RemoteAddr() net.Addr {
	if w.remote != nil {
		return w.remote
	}
	return w.Conn.RemoteAddr()
}

// SetDeadline does nothing.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// handshakeError is a TLS handshake that failed.
type handshakeError struct {
	err    error
	took   time.Duration
	target bool // it was the handshake with the target
	silent bool // the peer never sent a byte

	// peer is how far the session got. The certificates in it are those that were shown, for which nobody vouches.
	peer tls.ConnectionState
}

func (e *handshakeError) Error() string {
	if e.target {
		return "TLS handshake with the target: " + e.err.Error()
	}
	return e.err.Error()
}

func (e *handshakeError) Unwrap() error { return e.err }

// interruptedError is a wait that was ended: by its time limit, or because the server closes.
type interruptedError struct {
	cause error // context.DeadlineExceeded or ErrServerClosed
	err   error // what the wait reported then; nil where it has nothing to add
}

func (e *interruptedError) Error() string {
	switch {
	case !errors.Is(e.cause, context.DeadlineExceeded):
		return e.cause.Error()
	case e.err == nil:
		return "timed out"
	}
	return e.err.Error()
}

func (e *interruptedError) Unwrap() error { return e.cause }
