package proxy

import (
	"crypto/tls"
	"errors"
)

// stream is what one side sends.
type stream interface {
	// next waits for bytes, and returns all that are there, as far as they fit into a buffer. They are valid until done.
	// An error may come with some, and is the end of the stream.
	next() ([]byte, error)

	// done says that the bytes were used.
	done()
}

// plainStream is what comes in as it is.
type plainStream struct{ in *intake }

func (s plainStream) next() ([]byte, error) {
	err := s.in.receive()
	return s.in.unread(), err
}

func (s plainStream) done() { s.in.take(len(s.in.unread())) }

// tlsStream is what comes in as TLS records. The plaintext of all that are there is gathered.
type tlsStream struct {
	session *tls.Conn
	wire    *wire
	store   *buffers
	buffer  *buffer // nil while it waits
}

func (s *tlsStream) next() ([]byte, error) {
	s.wire.await()
	s.buffer = s.store.take(max(s.wire.in.level, recordLevel))
	free := s.buffer.bytes
	n, err := s.session.Read(free)
	for err == nil && len(free)-n >= maxPlaintext && s.wire.complete() {
		var more int
		more, err = s.readNow(free[n:])
		n += more
	}
	return free[:n], err
}

// readNow reads without waiting. A record that is there may carry nothing to be forwarded.
func (s *tlsStream) readNow(p []byte) (int, error) {
	s.wire.patient = false
	defer func() { s.wire.patient = true }()
	n, err := s.session.Read(p)
	if errors.Is(err, errNothingYet) {
		err = nil
	}
	return n, err
}

func (s *tlsStream) done() {
	if s.buffer != nil {
		s.store.give(s.buffer)
		s.buffer = nil
	}
}
