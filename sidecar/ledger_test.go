package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"sallyport/internal/memnet"
	"sallyport/proxy"
)

func TestALedgerCountsWhatCameBefore(t *testing.T) {
	t.Parallel()
	l := new(ledger)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 2)
	serve := func() *proxy.Server {
		s := &proxy.Server{LastID: &l.lastID, Dial: func(context.Context) (net.Conn, error) {
			near, far := memnet.Pipe(64)
			go func() {
				_, _ = io.Copy(far, far)
				_ = far.Close()
			}()
			return near, nil
		}}
		l.add(s)
		go func() { served <- s.Serve(ln) }()
		return s
	}
	connect := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(c, "hello"); err != nil { // 6 bytes each way
			t.Fatal(err)
		}
		return c
	}
	// What has gone to the client is counted once it has gone, which the client may know before the count.
	want := func(when string, open, total, bytes int64, ids ...uint64) {
		t.Helper()
		says := func() string {
			in, out := l.bytes()
			nowOpen, all := l.counts()
			var got []uint64
			for _, c := range l.connections() {
				got = append(got, c.ID)
			}
			return fmt.Sprintf("%d open of %d, %d and %d bytes, connections %d", nowOpen, all, in, out, got)
		}
		wanted := fmt.Sprintf("%d open of %d, %d and %d bytes, connections %d", open, total, bytes, bytes, ids)
		eventually(t, func() bool { return says() == wanted }, func() string {
			return fmt.Sprintf("%s: %s, want %s", when, says(), wanted)
		})
	}
	first := serve()
	one := connect()
	want("one", 1, 1, 6, 1)
	if err := first.HandOver(); err != nil {
		t.Fatal(err)
	}
	second := serve()
	two := connect()
	want("another of the next", 2, 2, 12, 1, 2)
	_ = one.Close()
	if err := first.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	l.end(first)
	want("the first has ended", 1, 2, 12, 2)
	_ = two.Close()
	if err := second.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	l.end(second)
	want("both have", 0, 2, 12)
	for range 2 {
		if err := <-served; !errors.Is(err, proxy.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	}
}
