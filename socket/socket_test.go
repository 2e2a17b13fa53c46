package socket

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse is ParseListenAddress for addresses that are right by construction.
func parse(t *testing.T, text string) Address {
	t.Helper()
	a, err := ParseListenAddress(text)
	if err != nil {
		t.Fatalf("ParseListenAddress(%q): %v", text, err)
	}
	return a
}

// freePort is a TCP address on host that nothing listens on.
func freePort(t *testing.T, host string) Address {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("cannot listen on %s here: %v", host, err)
	}
	defer ln.Close()
	return parse(t, ln.Addr().String())
}

// unixPath is a UNIX address in a directory of the test's own.
func unixPath(t *testing.T) Address {
	t.Helper()
	dir, err := os.MkdirTemp("", "socket") // t.TempDir may be too long for sockaddr_un
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return parse(t, "unix:"+filepath.Join(dir, "s"))
}

func listen(t *testing.T, a Address) net.Listener {
	t.Helper()
	ln, err := Listen(t.Context(), a, ListenOptions{})
	if err != nil {
		t.Fatalf("Listen(%v): %v", a, err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// roundTrip dials a, sends a line and wants it from ln.
func roundTrip(t *testing.T, ln net.Listener, a Address) {
	t.Helper()
	conn, err := Dialer(a, 0)(t.Context())
	if err != nil {
		t.Fatalf("dialling %v: %v", a, err)
	}
	defer conn.Close()
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestListenAndDial(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		addr func(*testing.T) Address
	}{
		{"IPv4", func(t *testing.T) Address { return freePort(t, "127.0.0.1") }},
		{"IPv6", func(t *testing.T) Address { return freePort(t, "::1") }},
		{"host name", func(t *testing.T) Address {
			return Address{network: "tcp", host: "localhost", port: freePort(t, "127.0.0.1").port}
		}},
		{"every interface", func(t *testing.T) Address {
			return Address{network: "tcp", port: freePort(t, "127.0.0.1").port}
		}},
		{"IPv6 with a zone", func(t *testing.T) Address {
			lo, err := net.InterfaceByIndex(1)
			if err != nil || lo.Flags&net.FlagLoopback == 0 {
				t.Skip("the first interface is not the loopback one here")
			}
			return freePort(t, "::1%"+lo.Name)
		}},
		{"UNIX", unixPath},
		{"UNIX, relative", func(t *testing.T) Address {
			dir, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			path, err := filepath.Rel(dir, unixPath(t).Path())
			if err != nil {
				t.Skip(err)
			}
			return parse(t, "unix:"+path)
		}},
		{"UNIX, abstract", func(t *testing.T) Address {
			if runtime.GOOS != "linux" {
				t.Skip("the abstract namespace is Linux's")
			}
			return parse(t, "unix:@"+unixPath(t).Path())
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := tt.addr(t)
			roundTrip(t, listen(t, a), a)
		})
	}
}

func TestEveryInterfaceIsIPv4AndIPv6(t *testing.T) {
	t.Parallel()
	a := Address{network: "tcp", port: freePort(t, "::").port}
	ln := listen(t, a)
	for _, host := range []string{"127.0.0.1", "::1"} {
		roundTrip(t, ln, Address{network: "tcp", host: host, port: a.port})
	}
}

func TestListenUNIXRemovesItsFile(t *testing.T) {
	t.Parallel()
	a := unixPath(t)
	ln := listen(t, a)
	if _, err := os.Lstat(a.Path()); err != nil {
		t.Fatalf("while listening: %v", err)
	}
	ln.Close()
	if _, err := os.Lstat(a.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the file is still there: %v", err)
	}
}

func TestListenUNIXReplacesAStaleSocket(t *testing.T) {
	t.Parallel()
	a := unixPath(t)
	left, err := net.Listen("unix", a.Path())
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()

	roundTrip(t, listen(t, a), a)
}

func TestListenUNIXLeavesALiveSocketAlone(t *testing.T) {
	t.Parallel()
	a := unixPath(t)
	live := listen(t, a)
	// The probe below waits in the backlog until somebody takes it.
	second, err := Listen(t.Context(), a, ListenOptions{})
	if err == nil {
		second.Close()
		t.Fatal("a live socket was taken over")
	}
	want := "another process serves this socket; stop it or choose another path"
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	probe, err := live.Accept()
	if err != nil {
		t.Fatal(err)
	}
	probe.Close()
	roundTrip(t, live, a)
}

func TestListenUNIXLeavesOtherFilesAlone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		create func(path string) error
		want   string
	}{
		{"a file", func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) }, "there is a file that is not a socket"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "there is a file that is not a socket"},
		{"a symbolic link", func(path string) error { return os.Symlink("elsewhere", path) }, "there is a file that is not a socket"},
		{"a datagram socket", func(path string) error {
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err == nil {
				t.Cleanup(func() { conn.Close() })
			}
			return err
		}, "the socket is taken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := unixPath(t)
			if err := tt.create(a.Path()); err != nil {
				t.Fatal(err)
			}
			ln, err := Listen(t.Context(), a, ListenOptions{})
			if err == nil {
				ln.Close()
				t.Fatal("it was replaced")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want it to say %q", err, tt.want)
			}
			if _, err := os.Lstat(a.Path()); err != nil {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// TestStaleSocketThatIsGone: whoever owned it has just removed it, and there is
// nothing in the way any more.
func TestStaleSocketThatIsGone(t *testing.T) {
	t.Parallel()
	if err := removeStale(t.Context(), unixPath(t).Path()); err != nil {
		t.Error(err)
	}
}

func TestListenErrorsDoNotRepeatTheAddress(t *testing.T) {
	t.Parallel()
	// A socket without SO_REUSEPORT keeps its port to itself.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	taken := parse(t, ln.Addr().String())
	tests := []struct {
		name  string
		a     Address
		cause error
		want  string // of the error, before its cause
		help  string // behind it
	}{
		{"a UNIX path in a directory that is not there", parse(t, unixPath(t).String()+"/below/s"), fs.ErrNotExist, "bind: ", "; make its directory first"},
		{"a TCP port that is taken", taken, syscall.EADDRINUSE, "bind: ", "; another process listens there; stop it, or choose another port"},
		{"a host name whose port is taken", Address{network: "tcp", host: "localhost", port: taken.port}, syscall.EADDRINUSE, taken.String() + ": bind: ", "or choose another port"},
		{"an address of another machine", parse(t, "192.0.2.1:8443"), syscall.EADDRNOTAVAIL, "bind: ", "; this machine has no such address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln, err := Listen(t.Context(), tt.a, ListenOptions{})
			if err == nil {
				ln.Close()
				t.Fatal("it listens")
			}
			rest, ok := strings.CutPrefix(err.Error(), tt.want)
			if !ok || strings.Contains(rest, ":") || !strings.HasSuffix(rest, tt.help) || !errors.Is(err, tt.cause) {
				t.Errorf("error %q, want %q, %v, and %q", err, tt.want, tt.cause, tt.help)
			}
		})
	}
}

func TestAnAbstractNameThatIsTakenIsNoPort(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the abstract namespace is Linux's")
	}
	a := parse(t, "unix:@"+unixPath(t).Path())
	listen(t, a)
	ln, err := Listen(t.Context(), a, ListenOptions{})
	if err == nil {
		ln.Close()
		t.Fatal("it listens")
	}
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasSuffix(err.Error(), "; another process listens there; stop it, or choose another name") {
		t.Error(err)
	}
}

func TestZeroAddressOpensNothing(t *testing.T) {
	t.Parallel()
	if ln, err := Listen(t.Context(), Address{}, ListenOptions{}); err == nil {
		ln.Close()
		t.Error("Listen opened something")
	}
	if conn, err := Dialer(Address{}, 0)(t.Context()); err == nil {
		conn.Close()
		t.Error("the dialer reached something")
	}
	if err := Resolve(t.Context(), Address{}); err == nil {
		t.Error("Resolve found something")
	}
}

func TestDialerObeysItsContext(t *testing.T) {
	t.Parallel()
	a := freePort(t, "127.0.0.1")
	listen(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := Dialer(a, 0)(ctx); err == nil {
		conn.Close()
		t.Error("dialled with a context that had ended")
	}
}

func TestDialerTriesEveryAddressOfAName(t *testing.T) {
	t.Parallel()
	// localhost may be ::1 first; only 127.0.0.1 is served.
	a := freePort(t, "127.0.0.1")
	ln := listen(t, a)
	roundTrip(t, ln, Address{network: "tcp", host: "localhost", port: a.port})
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"localhost:80", "127.0.0.1:80", "[::1]:80", "[fe80::1%nosuch]:80", ":80", "unix:/nowhere"} {
		if err := Resolve(t.Context(), parse(t, text)); err != nil {
			t.Errorf("Resolve(%s): %v", text, err)
		}
	}
	var dns *net.DNSError
	if err := Resolve(t.Context(), parse(t, "nosuchhost.invalid:80")); !errors.As(err, &dns) {
		t.Errorf("Resolve of a name that does not exist: %v, want a *net.DNSError", err)
	}
}

func TestCloseLeavesTheSocketOfASuccessorAlone(t *testing.T) {
	t.Parallel()
	a := unixPath(t)
	first, err := Listen(t.Context(), a, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(a.Path()); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(t.Context(), a, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	c, err := Dialer(a, 0)(t.Context())
	if err != nil {
		t.Fatalf("the successor's socket is gone: %v", err)
	}
	_ = c.Close()
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(a.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
