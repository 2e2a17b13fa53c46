package socket

import (
	"context"
	"fmt"
	"net"
)

// Listen opens a at once; ctx bounds the resolving of its host name alone. An
// error does not repeat a, only an address that a host name turned out to be.
//
// TCP listeners have keep-alive on and, where the system knows it, SO_REUSEPORT,
// so that the next process can take the port over before this one lets go.
//
// The file of a UNIX socket is removed by Close, unless another socket has taken
// its place by then. A file that a process left behind is replaced; one that is
// served, or that is no socket, is an error.
func Listen(ctx context.Context, a Address) (net.Listener, error) {
	var (
		ln  net.Listener
		err error
	)
	switch a.network {
	case networkTCP:
		lc := net.ListenConfig{Control: reusePort}
		ln, err = lc.Listen(ctx, networkTCP, a.hostPort())
	case networkUNIX:
		ln, err = listenUNIX(ctx, a.path)
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
