package proxy

import (
	"fmt"
	"net"
	"net/netip"
)

// sources counts the connections in hand by the IP address that they come from. Server.mu guards it. The zero value limits
// nobody.
type sources struct {
	limit int // for each address; zero or less is none
	open  map[netip.Addr]int
}

// enter counts one more connection from an address, unless it has as many as it may have. The zero address has no limit.
func (s *sources) enter(from netip.Addr) bool {
	if s.limit <= 0 || !from.IsValid() {
		return true
	}
	if s.open[from] >= s.limit {
		return false
	}
	if s.open == nil {
		s.open = make(map[netip.Addr]int)
	}
	s.open[from]++
	return true
}

// leave takes back an enter that returned true. It forgets addresses without a connection, of which there is no end.
func (s *sources) leave(from netip.Addr) {
	if s.open[from] > 1 {
		s.open[from]--
	} else {
		delete(s.open, from)
	}
}

// countLocked counts the connection at the address where its client is, once that is known. The error says that it is one too
// many. Server.mu is held.
func (c *conn) countLocked() error {
	from := ipOf(c.remote)
	if !c.server.sources.enter(from) {
		return &crowdedError{source: from, limit: c.server.MaxConnsPerIP}
	}
	c.counted = from
	return nil
}

// ipOf is the IP address of a peer; the zero Addr where it has none, as on a UNIX socket.
func ipOf(peer net.Addr) netip.Addr {
	if peer, ok := peer.(*net.TCPAddr); ok {
		return peer.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// crowdedError is a connection from an address that has as many as it may have.
type crowdedError struct {
	source netip.Addr
	limit  int
}

func (e *crowdedError) Error() string {
	return fmt.Sprintf("%s has %d connections, which is as many as one address may have", e.source, e.limit)
}

// Reason names it in metrics and in the log.
func (e *crowdedError) Reason() string { return reasonCrowded }
