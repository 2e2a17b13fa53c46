//go:build unix

package proxy

import "syscall"

// watch has a socket tell when there is room.
func (out *outlet) watch() {
	if out.raw = rawOf(out.conn); out.raw != nil {
		out.try = out.tryWrite
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
			out.err = callError("write", out.conn, err)
			return true
		}
	}
	return true
}
