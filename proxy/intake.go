package proxy

import (
	"io"
	"net"
	"syscall"
)

// intake reads from a connection. It has a buffer from when there is something to read until that was taken, so that a
// connection that waits costs none; and a larger one the more there is to read at a time.
//
// One goroutine may use it at a time.
type intake struct {
	conn  net.Conn
	store *buffers

	raw syscall.RawConn       // nil where the connection cannot tell when there is something to read
	try func(fd uintptr) bool // how raw reads

	pass   *pass // is to have a place before what has come is read, and none while nothing comes
	waited bool  // tryRead has found nothing

	level  int     // of the next buffer
	buffer *buffer // nil when nothing is unread
	r, w   int     // buffer.bytes[r:w] is unread

	n   int // what the latest attempt read, or how it failed
	err error
}

func newIntake(conn net.Conn, store *buffers) *intake {
	in := &intake{conn: conn, store: store}
	in.watch()
	return in
}

// receive waits until there is more to read, and adds what there is to the unread bytes, which must be less than a TLS record can
// have. It returns an error, such as io.EOF, if and only if nothing was added.
func (in *intake) receive() error {
	in.waited = false
	if in.raw == nil {
		in.n, in.err = in.conn.Read(in.room())
	} else if err := in.raw.Read(in.try); err != nil {
		in.n, in.err = 0, err // a deadline, or somebody closed the connection
	}
	if in.n == 0 {
		in.take(0)
		if in.err == nil {
			return io.ErrNoProgress
		}
		return in.err
	}
	in.w += in.n
	in.adapt()
	return nil
}

// unread returns what was received and not taken. It is valid until the next receive or take.
func (in *intake) unread() []byte {
	if in.buffer == nil {
		return nil
	}
	return in.buffer.bytes[in.r:in.w]
}

// take says that the first n of the unread bytes were used. With the last of them the buffer is given back.
func (in *intake) take(n int) {
	in.r += n
	if in.r == in.w && in.buffer != nil {
		in.store.give(in.buffer)
		in.buffer = nil
	}
}

// room returns what is free of the buffer, behind the unread bytes. One that is full, or smaller than what comes at a time, makes way
// for a larger one: a stream of records is read in the middle of one nearly always, and would never get another otherwise.
func (in *intake) room() []byte {
	if in.buffer == nil {
		in.buffer, in.r, in.w = in.store.take(in.level), 0, 0
	}
	if in.r > 0 {
		in.w = copy(in.buffer.bytes, in.unread())
		in.r = 0
	}
	switch {
	case in.w == len(in.buffer.bytes):
		in.move(in.buffer.level + 1)
	case in.buffer.level < in.level:
		in.move(in.level)
	}
	return in.buffer.bytes[in.w:]
}

// move has the unread bytes in a buffer of another level.
func (in *intake) move(level int) {
	other := in.store.take(level)
	in.r, in.w = 0, copy(other.bytes, in.unread())
	in.store.give(in.buffer)
	in.buffer = other
}

// rest is what a connection keeps while it waits: no buffer, or a small one for what is unread.
func (in *intake) rest() {
	switch {
	case in.r == in.w:
		in.take(0)
	case in.buffer.level > recordLevel && in.w-in.r < maxRecord:
		in.move(recordLevel)
	}
}

// adapt chooses the size of the next buffer by what one read brought.
func (in *intake) adapt() {
	switch full := in.w == len(in.buffer.bytes); {
	case full && in.level < len(bufferSizes)-1:
		in.level++
	case !full && in.level > 0 && in.n <= bufferSizes[in.level-1]/2:
		in.level--
	}
}
