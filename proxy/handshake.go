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
	store := new(buffers)
	return func(ctx context.Context) (net.Conn, error) {
		socket, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		under := newWire(socket, store)
		session := tls.Client(under, config)
		pass := gate.pass(ctx)
		defer pass.leave()
		if err := shake(ctx, session, under, true, pass); err != nil {
			_ = socket.Close()
			return nil, &handshakeError{err: err, target: true, took: under.took, peer: session.ConnectionState()}
		}
		return session, nil
	}
}

// Client makes the client's part of a TLS handshake with somebody on the way to a target, such as an HTTPS proxy, before the
// context ends. It goes through the gate, which may be nil. After an error the socket is for the caller to close.
func (g *Gate) Client(ctx context.Context, socket net.Conn, config *tls.Config) (net.Conn, error) {
	under := newWire(socket, new(buffers))
	session := tls.Client(under, config)
	pass := g.pass(ctx)
	defer pass.leave()
	if err := shake(ctx, session, under, true, pass); err != nil {
		return nil, err
	}
	return session, nil
}

// shake completes the handshake of a session over the wire before the context ends. crypto/tls has this as HandshakeContext, at the price
// of a goroutine for each handshake; a deadline costs none. The caller leaves the gate.
func shake(ctx context.Context, session *tls.Conn, under *wire, client bool, p *pass) error {
	started := time.Now()
	stop := context.AfterFunc(ctx, func() { _ = under.Conn.SetDeadline(time.Unix(1, 0)) })
	err := under.through(p, client, session.Handshake)
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
func lingerAfterAlert(ctx context.Context, socket net.Conn, p *pass, err error) {
	if ctx.Err() == nil && alertSent(err) {
		p.leave()
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
