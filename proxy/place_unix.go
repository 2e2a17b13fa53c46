//go:build unix

package proxy

import (
	"os"
	"syscall"
)

// place is one of a Gate's. It has a pipe, through which its holder can wait for its turn at the network poller.
type place struct {
	in, out *os.File // nil: without a pipe
	raw     syscall.RawConn
}

// newPlace makes a place; without a pipe, where there are no descriptors left for one, it works and yields to nobody.
func newPlace() *place {
	r, w, err := os.Pipe()
	if err != nil {
		return new(place)
	}
	raw, err := r.SyscallConn()
	if err != nil {
		_, _ = r.Close(), w.Close()
		return new(place)
	}
	return &place{in: r, out: w, raw: raw}
}

// close ends the use of a place.
func (p *place) close() {
	if p.in != nil {
		_, _ = p.in.Close(), p.out.Close()
	}
}

// yield returns after the scheduler has looked at the network, and has made everybody runnable for whom there was something
// by the time of the call. [runtime.Gosched] does not do: it goes on with what is runnable already.
//
// The byte becomes readable while nobody reads, so that the goroutine has to be woken by the poller, as the last of those who
// are ready.
func (p *place) yield() {
	if p.out == nil {
		return
	}
	var b [1]byte
	sent := false
	_ = p.raw.Read(func(fd uintptr) (done bool) {
		if sent {
			n, err := syscall.Read(int(fd), b[:])
			return n == len(b) || err != syscall.EAGAIN && err != syscall.EINTR
		}
		_, err := p.out.Write(b[:])
		sent = err == nil
		return !sent
	})
}
