package sidecar

import (
	"context"
	"fmt"
	"net"
	"slices"

	"sallyport/socket"
)

// place is where a listener ended up, and the flag that put it there.
type place struct {
	flag string
	addr net.Addr
}

// found is an address as its flag has it or, if the service manager was to choose, where the listener is.
func found(a socket.Address, ln net.Listener) string {
	switch at := ln.Addr(); {
	case !a.IsActivated():
		return a.String()
	case at.Network() == "unix":
		return "unix:" + at.String()
	default:
		return at.String()
	}
}

// boundTo is what the address of a TCP listener would be; "" if it has no host, or one that is not found. Package net takes the
// first IPv4 address that a host has.
func boundTo(ctx context.Context, a socket.Address) string {
	if a.Network() != "tcp" || a.Host() == "" {
		return ""
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, a.Host())
	if err != nil || len(found) == 0 {
		return ""
	}
	at := max(0, slices.IndexFunc(found, func(ip net.IPAddr) bool { return ip.IP.To4() != nil }))
	return (&net.TCPAddr{IP: found[at].IP, Zone: found[at].Zone, Port: a.Port()}).String()
}

// distinct refuses two listeners on one TCP port. SO_REUSEPORT lets them bind, and the system would hand each connection to
// one or the other.
func distinct(places []place) error {
	for i, p := range places {
		if err := p.distinctFrom(places[:i]); err != nil {
			return err
		}
	}
	return nil
}

// distinctFrom is distinct for one that joins others.
func (p place) distinctFrom(others []place) error {
	for _, other := range others {
		if overlap(p.addr, other.addr) {
			return fmt.Errorf("%s: is where %s listens already; choose another port", p.flag, other.flag)
		}
	}
	return nil
}

func overlap(a, b net.Addr) bool {
	x, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	y, ok := b.(*net.TCPAddr)
	return ok && x.Port == y.Port && (x.IP.Equal(y.IP) || x.IP.IsUnspecified() || y.IP.IsUnspecified())
}
