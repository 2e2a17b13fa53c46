// Package memnet gives in-memory stream connections that behave as TCP does where a proxy can tell: a bounded buffer each
// way, half-close, resets, deadlines, and the errors of the kernel (ECONNRESET, EPIPE).
//
//	client, server := memnet.Pipe(64 << 10)
//	go io.Copy(server, server)
//	client.CloseWrite()
//
// Every wait is on a condition variable, so that a test inside [testing/synctest] sees its goroutines durably blocked and
// time jumps to the next timer. It is for tests: nothing here is tuned, and addresses are names alone.
package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Addr is the address of a memory connection: a name.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// Conn is one end of a connection. Its methods may be called at the same time.
type Conn struct {
	in, out       *stream
	local, remote Addr

	mu     sync.Mutex
	linger int // as SetLinger: 0 makes Close a reset
	closed bool
}

// Pipe returns the two ends of a connection with a buffer of size bytes each way. A size below 1 counts as 1.
func Pipe(size int) (client, server *Conn) {
	return pipe(size, "client", "server")
}

func pipe(size int, client, server Addr) (*Conn, *Conn) {
	up, down := newStream(size), newStream(size)
	return &Conn{in: down, out: up, local: client, remote: server, linger: -1},
		&Conn{in: up, out: down, local: server, remote: client, linger: -1}
}

// Read returns what the other end wrote, io.EOF after it closed its writing, ECONNRESET after it reset.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write blocks while the buffer is full. It fails with ECONNRESET or EPIPE once the other end is gone.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// CloseWrite ends this end's writing: the other reads what is left and then io.EOF.
func (c *Conn) CloseWrite() error {
	c.out.finish()
	return nil
}

// Close ends both directions. As in TCP, bytes that were received and never read turn it into a reset.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	abrupt := c.linger == 0
	c.mu.Unlock()

	if c.in.abandon() || abrupt {
		c.out.reset()
	}
	c.out.shut()
	return nil
}

// Reset drops the connection as a TCP RST does: both ends fail from now on.
func (c *Conn) Reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// SetLinger with 0 makes Close a Reset; any other value brings the ordinary Close back.
func (c *Conn) SetLinger(seconds int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = seconds
	return nil
}

// LocalAddr returns this end's name.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's name.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; the zero time removes them.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.readDeadline.set(c.in, t)
	c.out.writeDeadline.set(c.out, t)
	return nil
}

// SetReadDeadline bounds reads, the one that is waiting included.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.readDeadline.set(c.in, t)
	return nil
}

// SetWriteDeadline bounds writes, the one that is waiting included.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.writeDeadline.set(c.out, t)
	return nil
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// stream carries bytes one way.
type stream struct {
	mu            sync.Mutex
	changed       sync.Cond
	buf           []byte
	size          int
	finished      bool // the writer will write no more
	abandoned     bool // the reader is gone
	broken        bool // reset by the writer's end
	shutWrite     bool // the writer's end is closed: its own writes fail
	readDeadline  deadline
	writeDeadline deadline
}

func newStream(size int) *stream {
	s := &stream{size: max(size, 1)}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.abandoned:
			return 0, net.ErrClosed
		case s.readDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.changed.Broadcast()
			return n, nil
		case s.broken:
			return 0, syscall.ECONNRESET
		case s.finished:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for {
		switch {
		case s.shutWrite:
			return written, net.ErrClosed
		case s.writeDeadline.passed():
			return written, os.ErrDeadlineExceeded
		case s.finished:
			return written, syscall.EPIPE
		case s.abandoned:
			return written, syscall.ECONNRESET
		case written == len(p):
			return written, nil
		}
		if room := s.size - len(s.buf); room > 0 {
			n := min(room, len(p)-written)
			s.buf = append(s.buf, p[written:written+n]...)
			written += n
			s.changed.Broadcast()
			continue
		}
		s.changed.Wait()
	}
}

func (s *stream) finish() { s.update(func() { s.finished = true }) }
func (s *stream) shut()   { s.update(func() { s.finished, s.shutWrite = true, true }) }
func (s *stream) reset()  { s.update(func() { s.broken = true }) }

// abandon ends the reading side and reports whether bytes were left unread.
func (s *stream) abandon() (unread bool) {
	s.update(func() {
		unread = len(s.buf) > 0
		s.abandoned = true
		s.buf = nil
	})
	return unread
}

func (s *stream) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

// deadline wakes its stream's waiters when it passes. The stream's lock guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() { s.update(func() {}) })
	}
	s.changed.Broadcast()
}
