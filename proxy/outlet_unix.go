//go:build unix

package proxy

import (
	"net"
	"os"
	"syscall"
)

// watch has a socket tell when there is room.
func (out *outlet) watch() {
	system, ok := out.conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := system.SyscallConn(); err == nil {
		out.raw, out.try = raw, out.tryWrite
	}
}

// tryWrite writes what there is room for, and is not done while something is left: it will be called again when there is more room.
func (out *outlet) tryWrite(fd uintptr) (done bool) {
	for out.n < len(out.p) {
		n, err := writeNow(fd, out.p[out.n:])
		switch err {
		case 0:
			out.n += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			out.err = &net.OpError{
				Op: "write", Net: out.conn.LocalAddr().Network(), Source: out.conn.LocalAddr(), Addr: out.conn.RemoteAddr(),
				Err: os.NewSyscallError("write", err),
			}
			return true
		}
	}
	return true
}
