package sidecar

import (
	"fmt"
	"net"

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

// distinct refuses two listeners on one TCP port. SO_REUSEPORT lets them bind, and the system would hand each connection to
// one or the other.
func distinct(places []place) error {
	for i, a := range places {
		for _, b := range places[:i] {
			if overlap(a.addr, b.addr) {
				return fmt.Errorf("%s: is where %s listens already; choose another port", a.flag, b.flag)
			}
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
