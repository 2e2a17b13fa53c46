package socket

import (
	"context"
	"net"
)

// Dialer gives the function that connects to a. Its context bounds the whole
// of one call: a host name is resolved anew each time, and its addresses are
// tried in turn until one answers. The function is safe for concurrent use.
func Dialer(a Address) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		switch a.network {
		case networkTCP:
			return d.DialContext(ctx, networkTCP, a.hostPort())
		case networkUNIX:
			return d.DialContext(ctx, networkUNIX, a.path)
		}
		return nil, errNoAddress
	}
}

// Resolve tells whether the host name of a has an address right now. What needs
// no resolving (IP addresses, :PORT, UNIX sockets) always has one. The error of
// a name that does not resolve is a *net.DNSError.
func Resolve(ctx context.Context, a Address) error {
	if a.IsZero() {
		return errNoAddress
	}
	if a.host == "" {
		return nil
	}
	_, err := net.DefaultResolver.LookupNetIP(ctx, "ip", a.host)
	return err
}
