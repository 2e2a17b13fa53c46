package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Dialer gives the function that connects to a. Its context bounds the whole
// of one call. A host name is resolved anew each time, and where it has several
// addresses, one that does not answer does not keep the next from being tried:
// see race. The function is safe for concurrent use.
//
// TCP connections have TCP_NODELAY set, and keep-alive as in ListenOptions.
func Dialer(a Address, keepAlive time.Duration) func(context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAlive: idleTime(keepAlive), KeepAliveConfig: keepAliveConfig(keepAlive)}
	switch {
	case a.network == networkTCP && isName(a.host):
		return (&byName{
			host: a.host, port: strconv.Itoa(a.Port()),
			lookup:  net.DefaultResolver.LookupNetIP,
			connect: d.DialContext,
		}).dial
	case a.network == networkTCP:
		return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, networkTCP, a.hostPort()) }
	case a.network == networkUNIX:
		return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, networkUNIX, a.path) }
	case a.IsActivated():
		return func(context.Context) (net.Conn, error) { return nil, errActivated }
	}
	return func(context.Context) (net.Conn, error) { return nil, errNoAddress }
}

// errActivated is what dialling a socket that is handed over ends with.
var errActivated = errors.New("a socket of a service manager can be listened on, not connected to")

// isName tells whether a host has to be looked up.
func isName(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && host != ""
}

// Resolve tells whether the host name of a has an address right now. What needs
// no resolving (IP addresses, :PORT, UNIX sockets, sockets that are handed over)
// always has one. The error of a name that does not resolve is a *net.DNSError.
func Resolve(ctx context.Context, a Address) error {
	if a.IsZero() {
		return errNoAddress
	}
	if a.host == "" {
		return nil
	}
	_, err := Addresses(ctx, a)
	return err
}

// Addresses looks up the IP addresses that the host name of a has right now. The
// error of a name that has none is a *net.DNSError.
func Addresses(ctx context.Context, a Address) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", a.host)
}
