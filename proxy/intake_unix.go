//go:build unix

package proxy

import (
	"io"
	"net"
	"os"
	"syscall"
)

// watch has a socket tell when there is something to read.
func (in *intake) watch() {
	system, ok := in.conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := system.SyscallConn(); err == nil {
		in.raw, in.try = raw, in.tryRead
	}
}

// tryRead reads what there is. If there is nothing it gives the buffer back and is not done: it will be called again when
// there is something.
func (in *intake) tryRead(fd uintptr) (done bool) {
	if in.waited && in.admit != nil {
		if in.n, in.err = 0, in.admit(); in.err != nil {
			return true
		}
	}
	n, err := readNow(fd, in.room())
	for err == syscall.EINTR {
		n, err = readNow(fd, in.room())
	}
	switch {
	case err == syscall.EAGAIN:
		in.rest()
		in.waited = true
		return false
	case err != 0:
		in.n, in.err = 0, &net.OpError{
			Op: "read", Net: in.conn.LocalAddr().Network(), Source: in.conn.LocalAddr(), Addr: in.conn.RemoteAddr(),
			Err: os.NewSyscallError("read", err),
		}
	case n == 0:
		in.n, in.err = 0, io.EOF
	default:
		in.n, in.err = n, nil
	}
	return true
}
