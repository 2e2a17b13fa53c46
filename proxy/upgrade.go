package proxy

import (
	"context"
	"errors"
	"net"
	"time"
)

// Upgrade is what is said on one connection beside TLS before bytes are forwarded: the plaintext part of a protocol that goes
// over to TLS, and what such a protocol says once when TLS begins. A nil function says nothing.
//
// The functions read no byte more than is theirs: the next one is TLS's, or is forwarded. Their time is bounded: once it is
// over, reads and writes of the connections that they are given fail. An error may bring its reason, by a method Reason; it
// then is a refusal, which the client was told of and is given a moment to read.
type Upgrade struct {
	// Client speaks with whoever connected, before the TLS handshake with them. It has a part of HandshakeTimeout.
	Client func(client net.Conn) error

	// Dial takes the place of Server.Dial and of a Route's. It may speak with the client meanwhile.
	Dial func(ctx context.Context, client net.Conn) (net.Conn, error)

	// Join speaks with both sides after the handshakes with them. It has a part of DialTimeout. The connections are
	// *tls.Conn where the sides are TLS.
	Join func(client, target net.Conn) error
}

// upgrade speaks with the client before the TLS handshake.
func (c *conn) upgrade(ctx context.Context) error {
	if c.upgrades.Client == nil {
		return nil
	}
	err := talk(ctx, func() error { return c.upgrades.Client(c.spokenTo()) }, c.client.socket)
	if err != nil {
		return c.tellRefusal(ctx, &upgradeError{err: err})
	}
	return nil
}

// reach connects to the target.
func (c *conn) reach(ctx context.Context) (net.Conn, error) {
	if c.upgrades.Dial == nil {
		return c.dialer()(ctx)
	}
	var target net.Conn
	err := talk(ctx, func() (err error) {
		target, err = c.upgrades.Dial(ctx, c.spokenTo())
		return err
	}, c.client.socket)
	if err == nil {
		return target, nil
	}
	if target != nil {
		newSide(target).close()
	}
	return nil, c.tellRefusal(ctx, err)
}

// joinUp speaks with both sides, the last thing before bytes are forwarded. It closes a target that does not come to be used.
func (c *conn) joinUp(ctx context.Context, target *side) error {
	if c.upgrades.Join == nil {
		return nil
	}
	err := talk(ctx, func() error { return c.upgrades.Join(c.spokenTo(), target.Conn) }, c.client.socket, target.socket)
	if err != nil {
		target.close()
		return c.tellRefusal(ctx, &upgradeError{err: err})
	}
	return nil
}

// spokenTo is the client's connection as an Upgrade gets it. Behind a PROXY header, which tells to where the client connected,
// that is its local address: what we call ourselves must be known out there, and where we are behind a proxy must not.
func (c *conn) spokenTo() net.Conn {
	if c.headed && c.client.tls == nil {
		return frontedConn{c.client.Conn, c.local}
	}
	return c.client.Conn
}

// frontedConn is a connection to an address in front of us.
type frontedConn struct {
	net.Conn
	local net.Addr
}

// LocalAddr is that address.
func (c frontedConn) LocalAddr() net.Addr { return c.local }

// UpgradingDialer returns a dial function that has upgrade speak over each connection that dial returns. The context bounds both.
// An error leaves no connection open.
func UpgradingDialer(dial func(context.Context) (net.Conn, error), upgrade func(net.Conn) error) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		target, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		if err := talk(ctx, func() error { return upgrade(target) }, target); err != nil {
			_ = target.Close()
			return nil, &upgradeError{err: err}
		}
		return target, nil
	}
}

// talk has speak use the sockets until the context ends, when whatever waits on them fails.
func talk(ctx context.Context, speak func() error, sockets ...net.Conn) error {
	stop := context.AfterFunc(ctx, func() {
		for _, socket := range sockets {
			_ = socket.SetDeadline(time.Unix(1, 0))
		}
	})
	err := speak()
	if stop() || errors.As(err, new(*interruptedError)) {
		return err
	}
	if _, judged := errors.AsType[reasoned](err); judged {
		return err
	}
	return &interruptedError{cause: context.Cause(ctx)}
}

// tellRefusal gives a client the time to read what it was told, if err is a refusal by an Upgrade. It returns err.
func (c *conn) tellRefusal(ctx context.Context, err error) error {
	_, refused := errors.AsType[reasoned](err)
	if refused && errors.As(err, new(*upgradeError)) && ctx.Err() == nil {
		_ = c.client.socket.SetWriteDeadline(time.Now().Add(alertLinger))
		c.client.endWriting()
		linger(ctx, c.client.socket)
	}
	return err
}

// upgradeError is an Upgrade that failed.
type upgradeError struct{ err error }

func (e *upgradeError) Error() string { return e.err.Error() }

func (e *upgradeError) Unwrap() error { return e.err }
