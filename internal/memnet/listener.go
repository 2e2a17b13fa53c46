package memnet

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// Listener hands out the server ends of what Dial makes.
type Listener struct {
	size    int
	backlog chan *Conn
	closed  chan struct{}
	once    sync.Once
}

// Listen returns a listener whose connections buffer size bytes each way.
func Listen(size int) *Listener {
	return &Listener{size: size, backlog: make(chan *Conn), closed: make(chan struct{})}
}

// Dial connects. It waits until the connection is accepted, and fails with ECONNREFUSED once the listener is closed.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	client, server := pipe(l.size, "client", "listener")
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: Addr("listener"), Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: Addr("listener"), Err: context.Cause(ctx)}
	case l.backlog <- server:
		return client, nil
	}
}

// Accept waits for a connection; net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: Addr("listener"), Err: net.ErrClosed}
	case c := <-l.backlog:
		return c, nil
	}
}

// Close ends the listener; connections that it handed out go on.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns "listener".
func (l *Listener) Addr() net.Addr { return Addr("listener") }
