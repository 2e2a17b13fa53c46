package tests

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// abort closes a TCP connection with a reset.
func abort(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0) // it may be gone
	_ = conn.Close()
}

// TestAResetGoesThroughTwoTunnels: who is at the other end must not take half an answer, or half a request, for the whole.
func TestAResetGoesThroughTwoTunnels(t *testing.T) {
	t.Parallel()
	const half = 1 << 20
	for _, who := range []string{"client", "target"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			accepted := make(chan net.Conn)
			tun := newTunnel(t, "tcp", serve(t, "tcp", func(conn net.Conn) {
				select {
				case accepted <- conn:
					<-t.Context().Done() // it is closed then
				case <-t.Context().Done():
				}
			}).address)
			from := dial(t, "tcp", tun.address)
			to := receive(t, "the target's end", accepted)
			if who == "target" {
				from, to = to, from
			}
			sending := make(chan error, 1)
			go func() {
				_, err := io.CopyN(from, noise(1), half)
				sending <- err
			}()
			if _, err := io.CopyN(io.Discard, to, half); err != nil {
				t.Fatal(err)
			}
			if err := receive(t, "the end of the sending", sending); err != nil {
				t.Fatal(err)
			}
			abort(from)
			if n, err := io.Copy(io.Discard, to); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end got %d bytes more and then %v, want a reset", n, err)
			}
			tun.stop(t)
		})
	}
}
