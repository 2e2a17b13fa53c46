package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// duplex is what both kinds of connection can do.
type duplex interface {
	net.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// TestConnectionsAreAsTheKernels has both do the same: a test in memory is worth what they have in common.
func TestConnectionsAreAsTheKernels(t *testing.T) {
	t.Parallel()
	read := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 8))
		return err
	}
	write := func(c net.Conn) error {
		_, err := c.Write([]byte("x"))
		return err
	}
	past := time.Unix(1, 0)
	for name, test := range map[string]struct {
		do   func(near, far duplex) error
		want error
	}{
		"read what was sent": {func(near, far duplex) error { return errors.Join(write(far), read(near)) }, nil},
		"read nothing":       {func(near, _ duplex) error { _, err := near.Read(nil); return err }, nil},
		"read at the end":    {func(near, far duplex) error { return errors.Join(far.CloseWrite(), read(near)) }, io.EOF},
		"write to who has ended": {func(near, far duplex) error {
			return errors.Join(far.CloseWrite(), write(near), read(far))
		}, nil},
		"read after a reset": {func(near, far duplex) error {
			return errors.Join(far.SetLinger(0), far.Close(), read(near))
		}, syscall.ECONNRESET},
		"read before a reset that was taken back": {func(near, far duplex) error {
			return errors.Join(far.SetLinger(0), far.SetLinger(-1), far.Close(), read(near))
		}, io.EOF},
		"write after one's own end":  {func(near, _ duplex) error { return errors.Join(near.CloseWrite(), write(near)) }, syscall.EPIPE},
		"write after closing":        {func(near, _ duplex) error { return errors.Join(near.Close(), write(near)) }, net.ErrClosed},
		"read after closing":         {func(near, _ duplex) error { return errors.Join(near.Close(), read(near)) }, net.ErrClosed},
		"read late":                  {func(near, _ duplex) error { return errors.Join(near.SetReadDeadline(past), read(near)) }, os.ErrDeadlineExceeded},
		"write late":                 {func(near, _ duplex) error { return errors.Join(near.SetWriteDeadline(past), write(near)) }, os.ErrDeadlineExceeded},
		"write when reading is late": {func(near, _ duplex) error { return errors.Join(near.SetReadDeadline(past), write(near)) }, nil},
		"read when writing is late": {func(near, far duplex) error {
			return errors.Join(near.SetWriteDeadline(past), write(far), read(near))
		}, nil},
		"read what is there, late": {func(near, far duplex) error {
			return errors.Join(write(far), near.SetReadDeadline(past), read(near))
		}, os.ErrDeadlineExceeded},
	} {
		for _, kind := range []struct {
			name string
			pair func(*testing.T) (near, far duplex)
		}{{"memory", inMemory}, {"kernel", inKernel}} {
			t.Run(name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				near, far := kind.pair(t)
				if err := test.do(near, far); !errors.Is(err, test.want) || test.want == nil && err != nil {
					t.Errorf("%v, want %v", err, test.want)
				}
				if near.LocalAddr().String() != far.RemoteAddr().String() || near.LocalAddr().Network() != far.RemoteAddr().Network() {
					t.Errorf("%v is %v to the other side", near.LocalAddr(), far.RemoteAddr())
				}
			})
		}
	}
}

func inMemory(t *testing.T) (near, far duplex) {
	client, server := Pipe(64)
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

func inKernel(t *testing.T) (near, far duplex) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client.(*net.TCPConn), server.(*net.TCPConn)
}

// TestADialThatNobodyAcceptsEndsWithItsContext, as one does in the kernel.
func TestADialThatNobodyAcceptsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ln := Listen(1)
	defer func() { _ = ln.Close() }()
	gaveUp := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gaveUp)
	oops := new(net.OpError)
	if _, err := ln.Dial(ctx); !errors.Is(err, gaveUp) || !errors.As(err, &oops) || oops.Addr.String() != ln.Addr().String() {
		t.Errorf("dial: %v", err)
	}
}
