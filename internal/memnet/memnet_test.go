package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBytesArriveInOrderThroughASmallBuffer(t *testing.T) {
	t.Parallel()
	a, b := Pipe(3)
	want := bytes.Repeat([]byte("0123456789"), 1000)
	go func() {
		if _, err := a.Write(want); err != nil {
			t.Error(err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatalf("the other direction is closed too: %v", err)
	}
}

func TestCloseWithUnreadBytesIsAReset(t *testing.T) {
	t.Parallel()
	a, b := Pipe(10)
	if _, err := a.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write: %v, want ECONNRESET", err)
	}
}

func TestCloseAfterReadingAllIsAnEnd(t *testing.T) {
	t.Parallel()
	a, b := Pipe(10)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v, want EOF", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read on a closed end: %v, want ErrClosed", err)
	}
	if err := b.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second close: %v, want ErrClosed", err)
	}
}

func TestResetKeepsWhatWasSentReadable(t *testing.T) {
	t.Parallel()
	a, b := Pipe(10)
	if _, err := a.Write([]byte("sent")); err != nil {
		t.Fatal(err)
	}
	a.Reset()
	got, err := io.ReadAll(b)
	if string(got) != "sent" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %q, %v; want the bytes and then ECONNRESET", got, err)
	}
}

func TestDeadlinesEndAWaitingReadAndWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(1)
		defer a.Close()
		defer b.Close()
		start := time.Now()
		if err := a.SetDeadline(start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want a time-out", err)
		}
		if n, err := a.Write([]byte("xy")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v, want a time-out", n, err)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v, want 1m", waited)
		}
		if err := a.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); err != nil {
			t.Errorf("write after the deadline was removed: %v", err)
		}
	})
}

func TestListenerRefusesOnceClosed(t *testing.T) {
	t.Parallel()
	l := Listen(1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = c.Write([]byte("x"))
		_ = c.Close()
	}()
	c, err := l.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "x" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Dial(context.Background()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want ECONNREFUSED", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want ErrClosed", err)
	}
}
