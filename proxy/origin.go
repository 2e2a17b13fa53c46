package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"sallyport/proxy/header"
)

// readHeader reads the PROXY header that the connection begins with, if it does, and has the client be where it says. Not one
// byte of what follows is read, and the socket stays what the connection runs over.
func (c *conn) readHeader(ctx context.Context) (stage string, _ error) {
	if !c.headed {
		return "", nil
	}
	socket := c.client.socket
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })
	remote, local, err := header.Read(socket)
	if !stop() && !errors.As(err, new(*header.Error)) {
		return stageHeader, &interruptedError{cause: context.Cause(ctx)}
	}
	if err != nil {
		return stageHeader, &headerError{err}
	}
	c.mu.Lock()
	if remote != nil {
		c.remote, c.local = remote, local
	}
	c.mu.Unlock()

	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return stageLimit, c.countLocked()
}

// headerError is a PROXY header that did not come, or not as it has to.
type headerError struct{ err error }

func (e *headerError) Error() string { return e.err.Error() }

func (e *headerError) Unwrap() error { return e.err }

// Reason names it in metrics and in the log.
func (e *headerError) Reason() string {
	if refused, ok := errors.AsType[*header.Error](e.err); ok {
		return refused.Reason()
	}
	if errors.Is(e.err, header.ErrNothing) {
		return reasonClientAbort
	}
	return reasonLost
}

// guard is a plain connection of a client that may send no PROXY header: reading fails where one has begun for sure. It would
// pass for one of ours at a target that reads them. TLS needs no guard, since a header is no handshake.
type guard struct {
	net.Conn

	first []byte // what came so far, as long as it may be the start of a header
	done  bool   // it is none
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.done || n == 0 {
		return n, err
	}
	g.first = append(g.first, p[:min(n, header.MaxStart)]...)
	switch does, may := header.Starts(g.first); {
	case does:
		return 0, &notAllowedError{}
	case !may:
		g.first, g.done = nil, true
	}
	return n, err
}

// CloseWrite ends the writing of the connection.
func (g *guard) CloseWrite() error {
	closeWrite(g.Conn)
	return nil
}

// notAllowedError is a PROXY header from somebody who may send none.
type notAllowedError struct{}

func (*notAllowedError) Error() string { return "a PROXY header came from a peer that may send none" }

// Reason names it in metrics and in the log.
func (*notAllowedError) Reason() string { return reasonNoHeader }
