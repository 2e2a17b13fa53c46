package tests

import (
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// reserve returns a loopback address (127.0.0.1:PORT) whose port stays
// reserved until the test ends, for a program that the test is about to start.
func reserve(t *testing.T) string {
	t.Helper()
	return reserveOn(t, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

// reserveOn is reserve for another address of this machine.
//
// A socket holds the port that is bound but never listens. With SO_REUSEADDR
// and SO_REUSEPORT both set, Linux lets a second socket bind and listen there
// if it has either option, as sallyport (SO_REUSEPORT) and practically every
// server (SO_REUSEADDR) do, yet hands the port to nobody who asks for any free
// one, connects from it to nowhere, and refuses connections to it until the
// program listens.
func reserveOn(t *testing.T, host netip.Addr) string {
	t.Helper()
	var family int
	var anyPort unix.Sockaddr
	if host.Is4() {
		family, anyPort = unix.AF_INET, &unix.SockaddrInet4{Addr: host.As4()}
	} else {
		family, anyPort = unix.AF_INET6, &unix.SockaddrInet6{Addr: host.As16()}
	}

	// Programs started meanwhile must not inherit the socket.
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatalf("reserving a port: socket: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Errorf("giving a port back: %v", err)
		}
	})
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			t.Fatalf("reserving a port: setsockopt: %v", err)
		}
	}
	if err := unix.Bind(fd, anyPort); err != nil {
		t.Fatalf("reserving a port on %s: bind: %v", host, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatalf("reserving a port: getsockname: %v", err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(host, uint16(name.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(host, uint16(name.Port)).String()
	}
	t.Fatalf("reserving a port: got a socket of type %T", name)
	return ""
}

// port returns the port of an address, for programs that take it by itself.
func port(t *testing.T, address string) string {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(int(a.Port()))
}
