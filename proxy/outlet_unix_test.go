//go:build unix

package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// stuff fills a connection until no more is taken, in pieces that need not fit.
func stuff(t *testing.T, out *outlet) (sent []byte) {
	t.Helper()
	piece := bytes.Repeat([]byte("0123456789abcde\n"), 4<<10)
	for {
		if err := out.conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := out.write(piece)
		sent = append(sent, piece[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if n != len(piece) || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if err := out.conn.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return sent
}

func TestWriteWaitsForRoom(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	out := newOutlet(near)
	if out.raw == nil {
		t.Fatal("a socket is written to like any connection")
	}
	sent := stuff(t, out)
	last := bytes.Repeat([]byte("end"), 1<<20)
	wrote := make(chan error, 1)
	go func() {
		n, err := out.write(last)
		if err == nil && n != len(last) {
			err = io.ErrShortWrite
		}
		wrote <- errors.Join(err, near.CloseWrite())
	}()
	got, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, append(sent, last...)) {
		t.Errorf("%d bytes came, which are not the %d that were sent", len(got), len(sent)+len(last))
	}
}

func TestWriteThatWaitsEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	near, _ := tcpPair(t)
	out := newOutlet(near)
	const more = 64 << 20 // than any buffers between the two take
	time.AfterFunc(20*time.Millisecond, func() { closeAllOf(near) })
	if n, err := out.write(make([]byte, more)); n == more || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestWriteToAPeerThatIsGone(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	out := newOutlet(near)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	closeAllOf(far)
	for range 2 {
		n, err := out.write([]byte("hello"))
		if n != 0 || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if oops := new(net.OpError); !errors.As(err, &oops) || oops.Op != "write" || oops.Addr.String() != near.RemoteAddr().String() {
			t.Errorf("the error does not tell what failed: %v", err)
		}
	}
}
