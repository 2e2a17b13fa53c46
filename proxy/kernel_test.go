package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// kernelRig is a server over sockets of the system, which behave in ways that the memory network does not.
type kernelRig struct {
	server      *Server
	front, back net.Listener
	journal     *journal
	served      chan error
}

func startKernel(t *testing.T, network string, s *Server) *kernelRig {
	t.Helper()
	return startKernelOn(t, network, s, func(ln net.Listener) net.Listener { return ln })
}

// startKernelOn serves on what wrap makes of the listener.
func startKernelOn(t *testing.T, network string, s *Server, wrap func(net.Listener) net.Listener) *kernelRig {
	t.Helper()
	listen := func() net.Listener {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = t.TempDir() + "/s"
		}
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	r := &kernelRig{server: s, front: wrap(listen()), back: listen(), journal: &journal{}, served: make(chan error, 1)}
	s.Observer = r.journal.observer()
	if s.Dial == nil {
		s.Dial = dialerTo(r.back)
	}
	go func() { r.served <- s.Serve(r.front) }()
	return r
}

func (r *kernelRig) connect(t *testing.T) (client, target net.Conn) {
	t.Helper()
	client, err := net.Dial(r.front.Addr().Network(), r.front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if target, err = r.back.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, target
}

// stop drains and returns the last thing that the observer was told.
func (r *kernelRig) stop(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	_ = r.back.Close()
	events := r.journal.all()
	return events[len(events)-1]
}

func TestHalfCloseOverKernelSockets(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			r := startKernel(t, network, &Server{CloseTimeout: time.Minute})
			client, target := r.connect(t)
			mustWrite(t, client, "question")
			closeWrite(client)
			wantRead(t, target, "question")
			wantReadError(t, target, io.EOF)
			mustWrite(t, target, "answer")
			closeWrite(target)
			wantRead(t, client, "answer")
			wantReadError(t, client, io.EOF)
			closeAll(client, target)
			if last := r.stop(t); last != "closed eof" {
				t.Error(last)
			}
		})
	}
}

// Closing a socket while its peer still sends makes the kernel throw away what the peer has not read yet.
func TestCloseTimeoutZeroLosesNothingThatWasSent(t *testing.T) {
	t.Parallel()
	r := startKernel(t, "tcp", &Server{CloseTimeout: 0})
	client, target := r.connect(t)
	sent := make([]byte, 300_000)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Write(sent); err != nil {
		t.Fatal(err)
	}
	closeWrite(target)
	_, err := target.Read(make([]byte, 1)) // until the proxy has passed the end on
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target read %v, want a reset: the client has not ended what it sends", err)
	}
	mustWrite(t, client, "one more ")
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(client, got); err != nil || string(got) != string(sent) {
		t.Fatalf("the answer did not arrive: %v", err)
	}
	wantReadError(t, client, io.EOF)
	closeAll(client, target)
	if last := r.stop(t); last != "closed eof" {
		t.Error(last)
	}
}
