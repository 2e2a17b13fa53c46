package upstream

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
)

// lease is one attempt's place among the connections of a member: pick has counted it, and its first socket takes that over.
type lease struct {
	group  *Group
	member *member

	mu    sync.Mutex
	taken bool
}

// dial connects to the member. An attempt may do so more than once.
func (l *lease) dial(ctx context.Context) (net.Conn, error) {
	conn, err := l.member.dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken {
		l.group.count(l.member, +1)
	}
	l.taken = true
	return &held{Conn: conn, lease: l}, nil
}

// attempted gives up the place that no socket has taken over.
func (l *lease) attempted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.taken {
		l.group.count(l.member, -1)
	}
	l.taken = true
}

// count changes how many connections the member has.
func (g *Group) count(m *member, by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.open += by
}

// held is a socket that counts as open.
type held struct {
	net.Conn

	lease *lease
	once  sync.Once
}

// NetConn is the socket itself.
func (h *held) NetConn() net.Conn { return h.Conn }

// Release has it count no longer. It is for those who close the socket itself.
func (h *held) Release() {
	h.once.Do(func() { h.lease.group.count(h.lease.member, -1) })
}

// Close closes the socket.
func (h *held) Close() error {
	defer h.Release()
	return h.Conn.Close()
}

// CloseWrite ends the writing of the socket.
func (h *held) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn is that of the socket.
func (h *held) SyscallConn() (syscall.RawConn, error) {
	if system, ok := h.Conn.(syscall.Conn); ok {
		return system.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
