package tests

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// A target is a service of the test's own, for --target.
type target struct {
	address string // as --target takes it

	listener net.Listener
	handle   func(net.Conn)
	accepted atomic.Int64
	running  sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// serve runs a target on a TCP port or, with network "unix", on a socket file.
// handle has the connection to itself; it is closed when handle returns, or
// under it when the test ends.
func serve(t *testing.T, network string, handle func(net.Conn)) *target {
	t.Helper()
	if network == "unix" {
		return serveOn(t, network, filepath.Join(t.TempDir(), "target"), handle)
	}
	return serveOn(t, network, "127.0.0.1:0", handle)
}

// serveOn is serve at an address of the caller's choice, or a path.
func serveOn(t *testing.T, network, address string, handle func(net.Conn)) *target {
	t.Helper()
	prefix := ""
	if network == "unix" {
		prefix = "unix:"
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &target{
		address:  prefix + listener.Addr().String(),
		listener: listener,
		handle:   handle,
		open:     map[net.Conn]struct{}{},
	}
	s.running.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

// connections is how many connections the target has accepted so far.
func (s *target) connections() int64 { return s.accepted.Load() }

func (s *target) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // out of descriptors, perhaps: the test's own doing
		}
		s.accepted.Add(1)
		s.mu.Lock()
		if s.closed {
			_ = conn.Close() // nobody is left to hear of it
			s.mu.Unlock()
			return
		}
		s.open[conn] = struct{}{}
		s.mu.Unlock()
		s.running.Go(func() {
			s.handle(conn)
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
			_ = conn.Close() // handle has seen what there was to see
		})
	}
}

// close ends every connection and waits for whoever handles it. It may be
// called more than once.
func (s *target) close() {
	_ = s.listener.Close() // fails the second time alone
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		_ = conn.Close() // handle learns of it
	}
	s.mu.Unlock()
	s.running.Wait()
}

// halfCloser is what TCP, UNIX and TLS connections have in common.
type halfCloser interface{ CloseWrite() error }

// echo sends everything back, and the end of it too.
func echo(conn net.Conn) {
	if _, err := io.Copy(conn, conn); err != nil {
		return // the other end sees it as well
	}
	_ = conn.(halfCloser).CloseWrite() // the other end may be gone
}

// record returns a handler that reads each connection to its end, answers
// nothing, and then sends what it has read.
func record() (handle func(net.Conn), received <-chan []byte) {
	all := make(chan []byte, 1024)
	return func(conn net.Conn) {
		data, _ := io.ReadAll(conn) // what came before an error counts too
		all <- data
	}, all
}
