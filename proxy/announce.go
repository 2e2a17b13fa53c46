package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"sallyport/proxy/header"
)

// Announcement returns the bytes that a target is sent before anything else: they tell it from where a client connected and to
// where, and of its TLS session, which is nil where there is none. An error fails the connection.
type Announcement func(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error)

// AnnounceConn is an Announcement of the addresses alone: a PROXY header of version 2.
func AnnounceConn(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error) {
	return header.Conn(source, destination, session)
}

// AnnounceTLS is an Announcement of the addresses, the TLS version, the server name and the ALPN protocol.
func AnnounceTLS(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error) {
	return header.TLS(source, destination, session)
}

// AnnounceTLSFull is AnnounceTLS, and of the client's certificate.
func AnnounceTLSFull(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error) {
	return header.TLSFull(source, destination, session)
}

// LocalDialer returns a dial function whose connections tell the target, by a PROXY header, that they speak for no client. It
// is for asking whether a target is up that wants such a header.
func LocalDialer(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		if err := send(ctx, c, header.Local()); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
}

// announce tells a target of the connection, if it is to be told.
func (c *conn) announce(ctx context.Context, target *side) error {
	if c.server.Announce == nil {
		return nil
	}
	var session *tls.ConnectionState
	if c.client.tls != nil {
		state := c.client.tls.ConnectionState()
		session = &state
	}
	text, err := c.server.Announce(c.remote, c.local, session)
	if err == nil {
		err = send(ctx, target.Conn, text)
	}
	if err != nil {
		return &announceError{err: err}
	}
	return nil
}

// send writes to a target before the context ends, whether or not the target reads.
func send(ctx context.Context, target net.Conn, text []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = target.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := target.Write(text)
	if !stop() {
		return &interruptedError{cause: context.Cause(ctx), err: err}
	}
	return err
}

// announceError is a connection that the target could not be told of.
type announceError struct{ err error }

func (e *announceError) Error() string {
	return fmt.Sprintf("announcing the client to the target: %v", e.err)
}

func (e *announceError) Unwrap() error { return e.err }

// Reason names it in metrics and in the log.
func (e *announceError) Reason() string {
	if interrupted, ok := errors.AsType[*interruptedError](e.err); ok {
		return reasonOf(interrupted)
	}
	return reasonAnnounce
}
