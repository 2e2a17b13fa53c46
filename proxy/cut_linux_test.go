package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// answered is a connection whose client has yet to read most of an answer, and whose target has reset it behind that.
type answered struct {
	*kernelRig
	client net.Conn
	answer int
}

func startAnswered(t *testing.T, secure bool) *answered {
	t.Helper()
	const answer = 256 << 10 // fits into the send buffer of a socket on loopback
	s := &Server{CloseTimeout: time.Minute}
	certs := newPKI(t)
	if secure {
		s.TLS = certs.serverConfig()
	}
	r := startKernel(t, "tcp", s)
	narrow := &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) }), err)
	}}
	client, err := narrow.Dial("tcp", r.front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		session := tls.Client(client, certs.clientConfig())
		if err := session.Handshake(); err != nil {
			t.Fatal(err)
		}
		client = session
	}
	target, err := r.back.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Write(make([]byte, answer)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the target's bytes have left it", func() bool {
		left, known := unsentBytes(target)
		return known && left == 0
	})
	_ = target.(*net.TCPConn).SetLinger(0)
	_ = target.Close()
	eventually(t, "the proxy knows of the reset", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.active {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.finished
		}
		return true
	})
	return &answered{kernelRig: r, client: client, answer: answer}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func inBothKinds(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Helper()
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, secure)
		})
	}
}

func TestWhatCameBeforeAResetArrives(t *testing.T) {
	t.Parallel()
	inBothKinds(t, func(t *testing.T, secure bool) {
		a := startAnswered(t, secure)
		n, err := io.Copy(io.Discard, a.client)
		if n != int64(a.answer) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client got %d bytes of %d and then %v, want all and a reset", n, a.answer, err)
		}
		closeAll(a.client)
		if last := a.stop(t); last != "closed target_reset" {
			t.Error(last)
		}
	})
}

func TestAResetDoesNotWaitForAClientThatNeverReads(t *testing.T) {
	t.Parallel()
	inBothKinds(t, func(t *testing.T, secure bool) {
		a := startAnswered(t, secure)
		defer closeAll(a.client)
		if last := a.stop(t); last != "closed target_reset" { // which waits until nothing is left of the connection
			t.Error(last)
		}
		n, err := io.Copy(io.Discard, a.client)
		if n >= int64(a.answer) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client got %d bytes of %d and then %v, want a part and a reset", n, a.answer, err)
		}
	})
}

// At the end of a drain there is no time left.
func TestAResetAtTheEndOfADrainWaitsForNobody(t *testing.T) {
	t.Parallel()
	r := startKernel(t, "tcp", &Server{CloseTimeout: time.Minute})
	client, target := r.connect(t)
	defer closeAll(client, target)
	stuffed := make(chan error, 1)
	go func() {
		_, err := io.Copy(target, endless{}) // until nothing goes on
		stuffed <- err
	}()
	eventually(t, "there is something that the client has not been sent", func() bool {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		for c := range r.server.active {
			return c.client.owes()
		}
		return false
	})
	if !r.server.cutAll() {
		t.Error("no connection was cut")
	}
	r.server.mu.Lock()
	for c := range r.server.active {
		if _, known := unsentBytes(c.client.socket); known {
			t.Error("the client's socket is open still")
		}
	}
	r.server.mu.Unlock()
	if err := <-stuffed; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target was told %v, want a reset", err)
	}
	if last := r.stop(t); last != "closed shutdown" {
		t.Error(last)
	}
}

// endless reads as zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A handler that had a deadline of its own in mind must not go on with a client that was cut off, and has yet to get the rest.
func TestACutClientIsHeardNoMore(t *testing.T) {
	t.Parallel()
	heard := make(chan error, 1)
	s := &Server{Handle: func(_ context.Context, client *Client) {
		_, _ = io.Copy(client, endless{}) // until it is cut off
		_ = client.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := client.Read(make([]byte, 1))
		_ = client.SetDeadline(time.Now().Add(time.Minute))
		_, again := client.Read(make([]byte, 1))
		if err != nil {
			err = again
		}
		if ended := client.CloseWrite(); ended == nil {
			err = nil
		}
		heard <- err
	}}
	r := startKernel(t, "tcp", s)
	client, err := net.Dial("tcp", r.front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(client)
	if _, err := client.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	var c *conn
	eventually(t, "there is something that the client has not been sent", func() bool {
		if list := s.inHand(); len(list) > 0 {
			c = list[0]
		}
		return c != nil && c.client.owes()
	})
	c.cut(reasonOther)
	if err := <-heard; !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("the handler went on: %v", err)
	}
	closeAll(client)
	if last := r.stop(t); last != "closed "+reasonOther {
		t.Error(last)
	}
}
