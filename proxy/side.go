package proxy

import (
	"crypto/tls"
	"net"
)

// side is one of the two ends of a forwarded connection. Bytes are read from and written to Conn; closing is done to the
// socket under it, because closing a TLS session may wait for a peer that does not read.
type side struct {
	net.Conn
	socket net.Conn  // what Conn runs over; Conn itself when plain
	tls    *tls.Conn // nil when plain
	wire   *wire     // between the two; nil when plain
	out    *outlet   // what plain bytes are written through; nil until some are

	release func() // the socket is closed; nil: nobody wants to know
}

func newSide(c net.Conn) *side {
	s := &side{Conn: c, socket: c}
	if session, ok := c.(*tls.Conn); ok {
		s.tls, s.socket = session, session.NetConn()
		if under, ok := s.socket.(*wire); ok {
			s.wire, s.socket = under, under.Conn
		}
	}
	if held, ok := s.socket.(interface{ Release() }); ok {
		s.release = held.Release
	}
	for { // it goes through somebody, perhaps over TLS; or somebody holds it
		through, ok := s.socket.(interface{ NetConn() net.Conn })
		if !ok {
			return s
		}
		s.socket = through.NetConn()
	}
}

// truncated reports, after a read said io.EOF, whether a TLS stream ended without the close_notify that would vouch for it.
// crypto/tls calls it an end like any other when it comes between two records; but it read the end of the socket then,
// which it does not do for a close_notify.
func (s *side) truncated() bool { return s.wire != nil && s.wire.ended }

// stream is what the side sends, from where it is now.
func (s *side) stream(store *buffers) stream {
	if s.wire == nil {
		return plainStream{newIntake(s.Conn, store)}
	}
	return &tlsStream{session: s.tls, wire: s.wire, store: store}
}

// write sends what may be many TLS records at once.
func (s *side) write(p []byte) (int, error) {
	if s.wire == nil {
		if s.out == nil {
			s.out = newOutlet(s.Conn)
		}
		return s.out.write(p)
	}
	if len(p) <= maxPlaintext {
		return s.tls.Write(p)
	}
	s.wire.cork(len(p))
	n, err := s.tls.Write(p)
	if sent := s.wire.uncork(); sent != nil {
		return 0, sent
	}
	return n, err
}

// endWriting passes an end of stream on: close_notify in TLS (RFC 8446, section 6.1), FIN in TCP.
func (s *side) endWriting() {
	closeWrite(s.Conn)
}

// close ends both directions in an orderly way.
func (s *side) close() {
	_ = s.socket.Close()
	s.released()
}

// released tells whoever counts sockets that this one is closed.
func (s *side) released() {
	if s.release != nil {
		s.release()
	}
}

// closeWrite half-closes TCP, UNIX and TLS alike; a connection that cannot is left to be closed whole.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
