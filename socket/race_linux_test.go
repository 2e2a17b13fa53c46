package socket

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// blackHole is an address of this machine that answers no attempt to connect: a
// listener whose queue is full, for which Linux drops what comes.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 2}), uint16(name.(*unix.SockaddrInet4).Port))
	silent := 0
	for range 10 { // the queue has room for one or two
		conn, err := net.DialTimeout("tcp", at.String(), 100*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			silent = 0
		} else if silent++; silent == 2 { // once may be this machine, which is busy
			return at
		}
	}
	t.Fatal("the queue of a listener does not fill up")
	return at
}

// TestAnAddressThatAnswersNothingDoesNotTakeTheTimeOfTheNext, with real sockets.
func TestAnAddressThatAnswersNothingDoesNotTakeTheTimeOfTheNext(t *testing.T) {
	t.Parallel()
	hole := blackHole(t)
	port := strconv.Itoa(int(hole.Port()))
	ln := opened(t, "tcp", net.JoinHostPort("127.0.0.3", port))
	var d net.Dialer
	host := &byName{
		host: "db.example.com", port: port, connect: d.DialContext,
		lookup: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{hole.Addr(), netip.MustParseAddr("127.0.0.3")}, nil
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	conn, err := host.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != ln.Addr().String() {
		t.Errorf("reached %s, want %v", got, ln.Addr())
	}
	// Package net by itself would have spent half the time on the first.
	if took := time.Since(began); took < attemptDelay || took > 20*time.Second {
		t.Errorf("it took %v, want a little more than %v", took, attemptDelay)
	}
}
