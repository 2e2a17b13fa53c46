//go:build unix

package proxy

import (
	"io"
	"syscall"
)

// watch has a socket tell when there is something to read.
func (in *intake) watch() {
	if in.raw = rawOf(in.conn); in.raw != nil {
		in.try = in.tryRead
	}
}

// tryRead reads what there is. If there is nothing it gives the buffer and the place back and is not done: it will be called
// again when there is something. That may turn out to be nothing once more: the poller tells of what an earlier read has met.
func (in *intake) tryRead(fd uintptr) (done bool) {
	if in.waited {
		if in.n, in.err = 0, in.pass.enter(); in.err != nil {
			return true
		}
	}
	n, err := readNow(fd, in.room())
	for err == syscall.EINTR {
		n, err = readNow(fd, in.room())
	}
	switch {
	case err == syscall.EAGAIN:
		in.pass.leave()
		in.rest()
		in.waited = true
		return false
	case err != 0:
		in.n, in.err = 0, callError("read", in.conn, err)
	case n == 0:
		in.n, in.err = 0, io.EOF
	default:
		in.n, in.err = n, nil
	}
	return true
}
