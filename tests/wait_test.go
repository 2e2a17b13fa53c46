package tests

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// eventually waits until ok reports true, and fails the test if that takes
// longer than patience. It is for states that nothing announces; what is
// logged is better waited for with process.waitLine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("waited %v for this in vain: %s", patience, what)
		}
	}
}

// receive waits for a value from a channel.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case value := <-from:
		return value
	case <-ctx.Done():
		t.Fatalf("waited %v for this in vain: %s", patience, what)
		panic("unreachable")
	}
}

// dial connects to an address. The connection is closed when the test ends, and
// nothing on it takes longer than the test may. One that is reset so soon that
// the system reports it to the dialler is like one that is reset a little later.
func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(t.Context(), network, address)
	if errors.Is(err, syscall.ECONNRESET) {
		return wasReset{}
	}
	if err != nil {
		t.Fatal(err)
	}
	bound(t, conn)
	return conn
}

// wasReset is a connection that was accepted and reset.
type wasReset struct{}

func (wasReset) Read([]byte) (int, error)         { return 0, syscall.ECONNRESET }
func (wasReset) Write([]byte) (int, error)        { return 0, syscall.ECONNRESET }
func (wasReset) CloseWrite() error                { return syscall.ECONNRESET }
func (wasReset) Close() error                     { return nil }
func (wasReset) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (wasReset) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (wasReset) SetDeadline(time.Time) error      { return nil }
func (wasReset) SetReadDeadline(time.Time) error  { return nil }
func (wasReset) SetWriteDeadline(time.Time) error { return nil }

// accepting waits until something accepts connections at an address.
func accepting(t *testing.T, network, address string) {
	t.Helper()
	eventually(t, "something that listens on "+address, func() bool {
		conn, err := net.DialTimeout(network, address, patience)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// bound closes conn when the test ends, and lets nothing on it wait for ever.
func bound(t *testing.T, conn net.Conn) {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() }) // many a test closes it itself
	deadline, ok := t.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Minute)
	}
	if err := conn.SetDeadline(deadline.Add(-10 * time.Second)); err != nil {
		t.Fatal(err)
	}
}
