package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// impatient dials with a small send buffer, and gives a peer up that takes no bytes for that long.
func impatient(giveUp time.Duration) *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var errs [2]error
		err := raw.Control(func(fd uintptr) {
			errs[0] = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 8192)
			errs[1] = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(giveUp.Milliseconds()))
		})
		return errors.Join(err, errs[0], errs[1])
	}}
}

// spy is a listener whose connections note how the proxy ends them.
type spy struct {
	net.Listener
	ended chan string
}

func (l *spy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &spiedConn{c.(*net.TCPConn), l.ended}, nil
}

type spiedConn struct {
	*net.TCPConn
	ended chan<- string
}

func (c *spiedConn) CloseWrite() error {
	c.ended <- "an end of stream"
	return c.TCPConn.CloseWrite()
}

func (c *spiedConn) SetLinger(seconds int) error {
	c.ended <- "a reset"
	return c.TCPConn.SetLinger(seconds)
}

// When the kernel gives a peer up, it tells so to the call that comes first. That is a write, mostly; the read after it sees
// a plain end, which must not be passed on as one.
func TestATargetThatIsGivenUpIsNoEndOfStream(t *testing.T) {
	t.Parallel()
	address := make(chan string, 1)
	watched := &spy{ended: make(chan string, 10)}
	r := startKernelOn(t, "tcp", &Server{CloseTimeout: time.Minute, Dial: func(ctx context.Context) (net.Conn, error) {
		return impatient(200*time.Millisecond).DialContext(ctx, "tcp", <-address)
	}}, func(ln net.Listener) net.Listener {
		watched.Listener = ln
		return watched
	})
	address <- r.back.Addr().String()
	client, target := r.connect(t)
	mustWrite(t, target, "half an ans") // and it never reads
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		for {
			if _, err := client.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	if how := <-watched.ended; how != "a reset" {
		t.Errorf("the client was told %s", how)
	}
	<-sending
	closeAll(client, target)
	if last := r.stop(t); last != "closed target_gone" {
		t.Error(last)
	}
}

// The kernel lets a writer go on only when much of the send buffer is free, which takes a slow reader longer than the idle
// time-out; but bytes flow all the while.
func TestIdleTimeoutSparesASlowReader(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than the buffers on the way hold
	r := startKernel(t, "tcp", &Server{CloseTimeout: time.Minute, IdleTimeout: idle})
	client, target := r.connect(t)
	sending := make(chan error, 1)
	go func() {
		_, err := target.Write(sent)
		closeWrite(target)
		sending <- err
	}()
	wantReadSlowly(t, client, len(sent), idle)
	if err := <-sending; err != nil {
		t.Error(err)
	}
	closeAll(client, target)
	r.stop(t)
}

// wantReadSlowly reads all that comes, as slowly at first as to take several time-outs for each time that the kernel lets the
// writer go on.
func wantReadSlowly(t *testing.T, client net.Conn, want int, timeout time.Duration) {
	t.Helper()
	var got int
	buf := make([]byte, 16<<10)
	pace := time.NewTicker(timeout / 30)
	defer pace.Stop()
	for began := time.Now(); time.Since(began) < 4*timeout; <-pace.C {
		n, err := client.Read(buf)
		if err != nil {
			t.Fatalf("cut off after %d bytes and %v: %v", got, time.Since(began), err)
		}
		got += n
	}
	rest, err := io.ReadAll(client)
	if err != nil || got+len(rest) != want {
		t.Errorf("got %d of %d bytes, %v", got+len(rest), want, err)
	}
}

// So it is with the time that a handler gives a client for taking what it is sent.
func TestBoundedWritesSpareASlowReader(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	wrote := make(chan error, 1)
	r := startKernel(t, "tcp", &Server{Handle: func(_ context.Context, client *Client) {
		client.BoundWrites(limit)
		_, err := client.Write(sent)
		wrote <- err
	}})
	client, err := net.Dial("tcp", r.front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	wantReadSlowly(t, client, len(sent), limit)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	closeAll(client)
	r.stop(t)
}
