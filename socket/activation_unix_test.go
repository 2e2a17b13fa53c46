//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package socket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handOver makes an Activation of sockets, as if systemd had opened them. Their
// names go before them.
func handOver(t *testing.T, sockets ...any) *Activation {
	t.Helper()
	a := new(Activation)
	for i := 0; i < len(sockets); i += 2 {
		name := sockets[i].(string)
		file, ok := sockets[i+1].(*os.File)
		if !ok {
			var err error
			if file, err = sockets[i+1].(interface{ File() (*os.File, error) }).File(); err != nil {
				t.Fatal(err)
			}
			defer file.Close()
		}
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		a.given, a.files = append(a.given, name), append(a.files, os.NewFile(uintptr(fd), name))
	}
	t.Cleanup(func() { _, _ = a.Close() })
	return a
}

// opened is a listener of package net, which stands for one of systemd's.
func opened(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestSocketsThatWereHandedOverAreListenedOnByName(t *testing.T) {
	t.Parallel()
	path := unixPath(t).Path()
	ours, theirs := opened(t, "tcp", "127.0.0.1:0"), opened(t, "unix", path)
	a := handOver(t, "web", ours, "status", theirs)
	for _, test := range []struct{ name, dial string }{
		{"status", "unix:" + path},
		{"web", ours.Addr().String()},
	} {
		ln, err := Listen(t.Context(), parse(t, "systemd:"+test.name), ListenOptions{Activation: a})
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, ln, parse(t, test.dial))
		// Whoever waits for a connection can be asked for something else.
		if err := ln.(interface{ SetDeadline(at time.Time) error }).SetDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		if conn, err := ln.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline it accepts %v, %v", conn, err)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file of the service manager's socket is gone: %v", err)
	}
	if unused, err := a.Close(); err != nil || len(unused) != 0 {
		t.Errorf("unused are %q, %v; want none", unused, err)
	}
}

func TestSocketsThatNobodyNamedAreClosed(t *testing.T) {
	t.Parallel()
	a := handOver(t, "web", opened(t, "tcp", "127.0.0.1:0"), "left", opened(t, "tcp", "127.0.0.1:0"), "over", opened(t, "tcp", "127.0.0.1:0"))
	ln, err := Listen(t.Context(), parse(t, "systemd:web"), ListenOptions{Activation: a})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	rest := slices.Clone(a.files)
	if unused, err := a.Close(); err != nil || !slices.Equal(unused, []string{"left", "over"}) {
		t.Errorf("unused are %q, %v", unused, err)
	}
	for _, file := range rest {
		if err := file.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s was not closed: %v", file.Name(), err)
		}
	}
}

func TestSocketsThatCannotBeListenedOn(t *testing.T) {
	t.Parallel()
	listening := opened(t, "tcp", "127.0.0.1:0")
	plain, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() })
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { datagrams.Close() })
	conn, err := net.Dial("tcp", listening.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })

	used := handOver(t, "web", listening)
	ln, err := Listen(t.Context(), parse(t, "systemd:web"), ListenOptions{Activation: used})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	const notAListener = "is no socket that accepts connections; use ListenStream= without Accept=yes in the .socket unit"
	tests := []struct {
		name       string
		activation *Activation
		want       string
	}{
		{"no activation", nil, "systemd handed over no socket; start the process by a .socket unit"},
		{"none", handOver(t), "systemd handed over no socket; start the process by a .socket unit"},
		{"others", handOver(t, "a", listening, "b", listening), "systemd handed over no socket of this name, but a, b; FileDescriptorName= in the .socket unit gives it one"},
		{"a second time", used, "is in use already"},
		{"two of one name", handOver(t, "web", listening, "web", listening), "systemd handed over several sockets of this name; give each a .socket unit with a FileDescriptorName= of its own"},
		{"a file", handOver(t, "web", plain), notAListener},
		{"a datagram socket", handOver(t, "web", datagrams), notAListener},
		{"a connection", handOver(t, "web", conn), notAListener},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln, err := Listen(t.Context(), parse(t, "systemd:web"), ListenOptions{Activation: tt.activation})
			if err == nil {
				ln.Close()
				t.Fatal("it listens")
			}
			if err.Error() != tt.want {
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
}

// TestWhatTellsOfActivationIsRemovedFromTheEnvironment, also where another
// process was meant.
func TestWhatTellsOfActivationIsRemovedFromTheEnvironment(t *testing.T) {
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getppid()))
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "web")
	t.Setenv("LISTEN_PIDFDID", "1")
	if unused, err := Activated().Close(); err != nil || len(unused) != 0 {
		t.Errorf("took %q over, %v; want nothing", unused, err)
	}
	for _, pair := range os.Environ() {
		if strings.HasPrefix(pair, "LISTEN_") {
			t.Errorf("%s is left", pair)
		}
	}
}

func TestLaunchdIsForMacOS(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "darwin" {
		t.Skip("launchd is here")
	}
	ln, err := Listen(t.Context(), parse(t, "launchd:web"), ListenOptions{})
	if err == nil {
		ln.Close()
		t.Fatal("it listens")
	}
	if want := "there is no launchd on this system; write HOST:PORT, unix:PATH or systemd:NAME"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestActivatedSocketsAreNotDialled(t *testing.T) {
	t.Parallel()
	a := parse(t, "systemd:web")
	if conn, err := Dialer(a, 0)(t.Context()); !errors.Is(err, errActivated) {
		t.Errorf("got %v, %v", conn, err)
	}
	if err := Resolve(t.Context(), a); err != nil {
		t.Errorf("nothing is to be resolved: %v", err)
	}
}
