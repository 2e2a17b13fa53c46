package proxy

import (
	"crypto/tls"
	"errors"
	"io"
)

// stream is what one side sends.
type stream interface {
	// next waits for bytes, and returns all that are there, as far as they fit into a buffer. They are valid until done.
	// An error may come with some, and is the end of the stream.
	next() ([]byte, error)

	// done says that the bytes were used.
	done()
}

// pour sends to all that comes in, and returns how much of it was sent. It calls came with how much came, and with how that ended.
func pour(to io.Writer, in stream, came func(n int, err error)) (sent int64, _ error) {
	for {
		p, err := in.next()
		came(len(p), err)
		var failed error
		if len(p) > 0 {
			var n int
			n, failed = to.Write(p)
			sent += int64(n)
		}
		in.done()
		switch {
		case failed != nil:
			return sent, failed
		case err == io.EOF:
			return sent, nil
		case err != nil:
			return sent, err
		}
	}
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
	begun   bool    // what the session had opened before has been read
}

func (s *tlsStream) next() ([]byte, error) {
	if !s.begun {
		s.begun = true
		if p, err := s.leftover(); len(p) > 0 || err != nil {
			return p, err
		}
		s.done()
	}
	s.wire.await()
	free := s.take()
	n, err := s.session.Read(free)
	for err == nil && len(free)-n >= maxPlaintext && s.wire.complete() {
		var more int
		more, err = s.readNow(free[n:])
		n += more
	}
	return free[:n], err
}

// leftover returns what is left of a record that others have read from before, such as an Upgrade. No call of next leaves any:
// its buffer has room for a record.
func (s *tlsStream) leftover() ([]byte, error) {
	free := s.take()
	n, err := s.readNow(free)
	return free[:n], err
}

func (s *tlsStream) take() []byte {
	s.buffer = s.store.take(max(s.wire.in.level, recordLevel))
	return s.buffer.bytes
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
