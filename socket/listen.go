package socket

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"time"
)

// ListenOptions say how to listen. With the zero value TCP connections have no
// keep-alive, and the file of a UNIX socket is what the umask makes of it.
type ListenOptions struct {
	// KeepAlive is the silence after which a TCP connection is probed, and the
	// time between probes; 0 is never.
	KeepAlive time.Duration

	// Mode is the permissions of a UNIX socket's file; who may write to it may
	// connect. 0 leaves them to the umask. At no time does the file allow more.
	Mode fs.FileMode

	// Owner is who a UNIX socket's file belongs to; nil is the process. It is
	// not used without Mode.
	Owner *Owner

	// Activation has the sockets of the service manager; nil is none.
	Activation *Activation
}

// Listen opens a at once; ctx bounds the resolving of its host name alone. An
// error does not repeat a, only an address that a host name turned out to be.
//
// TCP listeners have, where the system knows it, SO_REUSEPORT, so that the next
// process can take the port over before this one lets go. Their connections have
// TCP_NODELAY set. Without a host they accept IPv4 and IPv6.
//
// The file of a UNIX socket is removed by Close, unless another socket has taken
// its place by then. A file that a process left behind is replaced; one that is
// served, or that is no socket, is an error. That of a socket that was handed
// over is left alone.
func Listen(ctx context.Context, a Address, o ListenOptions) (net.Listener, error) {
	var (
		ln  net.Listener
		err error
	)
	switch a.network {
	case networkTCP:
		lc := net.ListenConfig{Control: reusePort, KeepAlive: idleTime(o.KeepAlive), KeepAliveConfig: keepAliveConfig(o.KeepAlive)}
		ln, err = lc.Listen(ctx, networkTCP, a.hostPort())
	case networkUNIX:
		ln, err = listenUNIX(ctx, a.path, o)
	case networkSystemd, networkLaunchd:
		return listenActivated(a, o)
	default:
		err = errNoAddress
	}
	op, ok := err.(*net.OpError) //nolint:errorlint // one that is wrapped is part of what is told
	switch {
	case !ok:
		return ln, err
	case op.Addr == nil || op.Addr.String() == a.hostPort() || op.Addr.String() == a.path:
		return nil, op.Err
	}
	return nil, fmt.Errorf("%v: %w", op.Addr, op.Err)
}

// listenActivated listens on a socket that is handed over.
func listenActivated(a Address, o ListenOptions) (net.Listener, error) {
	ln, err := o.Activation.take(a)
	if err != nil {
		return nil, err
	}
	if tcp, ok := ln.(*net.TCPListener); ok {
		return &keptAlive{tcp, keepAliveConfig(o.KeepAlive)}, nil
	}
	return ln, nil
}
