package proxy

import (
	"net"
	"syscall"
)

// outlet writes to a connection: as [net.Conn] has it, but to a socket without the scheduler's help as long as it takes the bytes.
//
// One goroutine may use it at a time.
type outlet struct {
	conn net.Conn

	raw syscall.RawConn       // nil where the connection cannot tell when there is room
	try func(fd uintptr) bool // how raw writes

	p   []byte // what is to be written
	n   int    // how much of it was
	err error
}

func newOutlet(conn net.Conn) *outlet {
	out := &outlet{conn: conn}
	out.watch()
	return out
}

// write writes all of p, or returns why it has not.
func (out *outlet) write(p []byte) (int, error) {
	if out.raw == nil {
		return out.conn.Write(p)
	}
	out.p, out.n, out.err = p, 0, nil
	err := out.raw.Write(out.try)
	out.p = nil
	if err == nil {
		err = out.err
	}
	return out.n, err
}
