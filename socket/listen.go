package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
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
	if !ok {
		return ln, err
	}
	err = op.Err
	if op.Addr != nil && op.Addr.String() != a.hostPort() && op.Addr.String() != a.path {
		err = fmt.Errorf("%v: %w", op.Addr, err)
	}
	if help := a.bindable(err); help != "" {
		err = fmt.Errorf("%w; %s", err, help)
	}
	return nil, err
}

// firstOpenPort is the lowest one that anybody may listen on.
const firstOpenPort = 1024

// bindable tells what it takes to listen at a, where binding it failed; "" is nothing that is known.
func (a Address) bindable(err error) string {
	onUNIX := a.network == networkUNIX
	switch {
	case onUNIX && errors.Is(err, syscall.ENOENT):
		return "make its directory first"
	case onUNIX && errors.Is(err, syscall.EACCES):
		return "the directory has to be writable for the user of this process"
	case onUNIX && errors.Is(err, syscall.EADDRINUSE): // an abstract name; of a file it is known what it is
		return "another process listens there; stop it, or choose another name"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process listens there; stop it, or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address"
	case errors.Is(err, syscall.EACCES) && a.port < firstOpenPort:
		return "a port below 1024 takes root, or the capability CAP_NET_BIND_SERVICE"
	}
	return ""
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
