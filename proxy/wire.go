package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// recordHeader is the length of what every TLS record begins with: its type, a version, and the length of what follows (RFC
// 8446, section 5.1).
const recordHeader = 5

// wire is the socket under a TLS session. It reads ahead, so that one system call brings many records, and hands them over one
// by one: what it still has tells whether the session can go on without waiting for the network.
//
// The deadlines of the socket belong to the proxy: crypto/tls would give the close_notify alert five seconds, and a peer that
// reads slowly would lose its end of stream. Only where somebody else handles the session they are theirs. During a handshake the wire gives up the place at the gate for as long as the
// network lets it wait.
type wire struct {
	net.Conn

	remote net.Addr      // of a client that may stand behind a proxy; nil is that of the socket
	pass   *pass         // of the handshake in progress; nil before and after
	took   time.Duration // of the handshake, once it is over
	closed func()        // is called when the session is closed, perhaps again; nil: nobody is told

	// Only whoever reads touches these.
	in       *intake
	left     int   // of the record that is being handed over
	failed   error // of the socket: the system may report it once
	patient  bool  // Read waits for the network; false is to return errNothingYet
	timed    bool  // a deadline may end a read, and others follow
	received bool  // a byte came in
	ended    bool  // the peer has ended its writing

	// What is to be written at once. Whoever reads may write too: alerts, and answers to key updates.
	writing sync.Mutex
	out     *outlet
	store   *buffers
	corked  *buffer // nil: what is written goes out
	held    int     // bytes in corked
}

func newWire(socket net.Conn, store *buffers) *wire {
	return &wire{Conn: socket, in: newIntake(socket, store), out: newOutlet(socket), store: store, patient: true}
}

// errNothingYet is what Read returns instead of waiting.
var errNothingYet net.Error = nothingYetError{}

// nothingYetError is a [net.Error] that a TLS session takes for a passing one: it goes on where it was when it is read from
// next.
type nothingYetError struct{}

func (nothingYetError) Error() string { return "nothing has come yet" }

// Timeout tells that more may come.
func (nothingYetError) Timeout() bool { return true }

// Temporary tells the same to crypto/tls.
func (nothingYetError) Temporary() bool { return true }

func (w *wire) Read(p []byte) (int, error) {
	for {
		if n := w.ready(); n > 0 {
			n = copy(p, w.in.unread()[:n])
			w.left -= n
			w.in.take(n)
			return n, w.pass.enter()
		}
		if w.failed != nil {
			return 0, w.failure() // it fails a handshake, and leaves nothing to compute
		}
		if !w.patient {
			return 0, errNothingYet
		}
		w.fill()
	}
}

// failure returns how the socket failed. What was but late may come yet.
func (w *wire) failure() error {
	err := w.failed
	if w.timed && errors.Is(err, os.ErrDeadlineExceeded) {
		w.failed = nil
	}
	return err
}

// await waits until there is something to read, an error included.
func (w *wire) await() {
	if w.failed == nil && w.in.buffer == nil {
		w.fill()
	}
}

// fill waits for the network.
func (w *wire) fill() {
	w.pass.leave()
	w.in.pass = w.pass
	w.failed = w.in.receive()
	w.received = w.received || w.failed == nil
	w.ended = w.ended || w.failed == io.EOF
}

// ready returns how many bytes can be handed over: those of the next record, once it is there as a whole. What cannot be a record
// is for the session to refuse, as is what is left when nothing more comes.
func (w *wire) ready() int {
	unread := w.in.unread()
	switch {
	case w.left > 0:
	case w.failed != nil, len(unread) >= recordHeader && !isRecord(unread):
		w.left = len(unread)
	case w.complete():
		w.left = recordLength(unread)
	}
	return min(w.left, len(unread))
}

// complete reports whether the next record is there.
func (w *wire) complete() bool {
	unread := w.in.unread()
	return w.left == 0 && len(unread) >= recordHeader && isRecord(unread) && len(unread) >= recordLength(unread)
}

// isRecord reports whether what begins like this can be a TLS record: of a known type, of a version 3.x, and not too long.
func isRecord(start []byte) bool {
	return start[0] >= 20 && start[0] <= 23 && start[1] == 3 && recordLength(start) <= maxRecord
}

// recordLength is the length of the TLS record that begins like this, with its header.
func recordLength(start []byte) int {
	return recordHeader + int(binary.BigEndian.Uint16(start[recordHeader-2:]))
}

// Write leaves the gate: a handshake writes when it has computed, and reads next.
func (w *wire) Write(p []byte) (int, error) {
	w.pass.leave()
	w.writing.Lock()
	defer w.writing.Unlock()
	if w.corked == nil {
		return w.out.write(p)
	}
	if w.held+len(p) > len(w.corked.bytes) {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > len(w.corked.bytes) {
		return w.out.write(p)
	}
	w.held += copy(w.corked.bytes[w.held:], p)
	return len(p), nil
}

// cork has what is written from now on held, so that it goes out at once. So much plaintext will come.
func (w *wire) cork(plaintext int) {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.corked = w.store.takeFor(plaintext + plaintext/8)
}

// uncork sends what was held.
func (w *wire) uncork() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	err := w.flush()
	w.store.give(w.corked)
	w.corked = nil
	return err
}

func (w *wire) flush() error {
	held := w.corked.bytes[:w.held]
	w.held = 0
	if len(held) == 0 {
		return nil
	}
	_, err := w.out.write(held)
	return err
}

// through runs a handshake over the wire, which computes as long as it neither reads nor writes. A client computes before it
// writes; a server has nothing to compute before it has read.
func (w *wire) through(p *pass, client bool, handshake func() error) error {
	w.pass = p
	defer func() { w.pass = nil }() // from here on two goroutines use the wire
	if client {
		if err := p.enter(); err != nil {
			return err
		}
	}
	return handshake()
}

// RemoteAddr is what tls.ClientHelloInfo tells of the client.
func (w *wire) RemoteAddr() net.Addr {
	if w.remote != nil {
		return w.remote
	}
	return w.Conn.RemoteAddr()
}

// Close closes the socket.
func (w *wire) Close() error {
	if w.closed != nil {
		w.closed()
	}
	return w.Conn.Close()
}

// SetDeadline does nothing, unless the wire is timed.
func (w *wire) SetDeadline(t time.Time) error {
	if !w.timed {
		return nil
	}
	return w.Conn.SetDeadline(t)
}

// SetReadDeadline is as SetDeadline, for reads.
func (w *wire) SetReadDeadline(t time.Time) error {
	if !w.timed {
		return nil
	}
	return w.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is as SetDeadline, for writes.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if !w.timed {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}
