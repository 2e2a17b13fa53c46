package proxy

import (
	"cmp"
	"slices"
	"time"
)

// Connection is a connection in hand, as it was at one moment.
type Connection struct {
	ID         uint64 // counts from 1; the log calls it conn
	Remote     string // who connected
	Target     string // "" until it is connected
	Identity   string // of the TLS peer; "" until it is known, and if it showed no certificate
	ServerName string // the name that TLS asked for
	Route      string // that it goes by; "" if there is none, and until it is known
	ALPN       string // the protocol that was agreed on
	TLSVersion string // "TLS 1.3"; "" until the handshake is over
	State      State
	Since      time.Time // when it was accepted
	BytesIn    int64     // that the target was sent
	BytesOut   int64     // that the client was sent
}

// State is how far a connection has come.
type State string

// The states of a connection, in their order.
const (
	StateHandshake  State = "handshake"   // the client's TLS handshake
	StateDial       State = "dial"        // connecting to the target, its TLS handshake included
	StateOpen       State = "open"        // forwarding both ways
	StateHalfClosed State = "half_closed" // one direction has ended
	StateClosing    State = "closing"     // both have, or it was cut
)

// Connections returns the connections in hand, the oldest first.
func (s *Server) Connections() []Connection {
	inHand := s.inHand()
	list := make([]Connection, len(inHand))
	for i, c := range inHand {
		list[i] = c.snapshot()
	}
	slices.SortFunc(list, func(a, b Connection) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Counts returns how many connections are in hand and how many were accepted so far.
func (s *Server) Counts() (open, total int64) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.active)), s.total
}

// Bytes returns how many bytes targets and clients were sent so far, over connections that live and those that have ended. What
// it returns never goes down.
func (s *Server) Bytes() (in, out int64) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out = s.bytesIn, s.bytesOut
	for c := range s.active {
		in += c.up.moved.Load()
		out += c.down.moved.Load()
	}
	return in, out
}

// Draining reports whether Shutdown, Drain or HandOver has begun: no more connections are accepted.
func (s *Server) Draining() bool {
	s.init()
	return s.inviting.Err() != nil
}

// inHand returns the connections in hand, in no order.
func (s *Server) inHand() []*conn {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.active))
	for c := range s.active {
		list = append(list, c)
	}
	return list
}

// snapshot tells of the connection as it is now.
func (c *conn) snapshot() Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	shown := Connection{
		ID:       c.id,
		Remote:   addr(c.remote),
		State:    c.stateLocked(),
		Since:    c.accepted,
		BytesIn:  c.up.moved.Load(),
		BytesOut: c.down.moved.Load(),
	}
	if c.target != nil {
		shown.Target = addr(c.target.RemoteAddr())
	}
	if c.route != nil {
		shown.Route = c.route.Name
	}
	if c.peer != nil {
		shown.Identity, shown.ServerName = c.peer.identity, c.peer.serverName
		shown.ALPN, shown.TLSVersion = c.peer.protocol, c.peer.version
	}
	return shown
}

func (c *conn) stateLocked() State {
	switch {
	case c.finished || c.up.ended && c.down.ended:
		return StateClosing
	case c.target == nil:
		return c.state
	case c.up.ended || c.down.ended:
		return StateHalfClosed
	}
	return StateOpen
}

// enter notes how far the connection has come on its way to the target.
func (c *conn) enter(state State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = state
}
