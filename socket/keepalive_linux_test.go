package socket

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// options are what a socket is set to.
type options struct {
	noDelay, keepAlive     int
	idle, interval, probes int // seconds, and how many
}

func optionsOf(t *testing.T, conn net.Conn) options {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got options
	err = raw.Control(func(fd uintptr) {
		for _, o := range []struct {
			level, name int
			value       *int
		}{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, &got.noDelay},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, &got.keepAlive},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, &got.idle},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, &got.interval},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, &got.probes},
		} {
			var err error
			if *o.value, err = unix.GetsockoptInt(int(fd), o.level, o.name); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTCPConnectionsHaveNoDelayAndKeepAlive(t *testing.T) {
	t.Parallel()
	for _, keepAlive := range []time.Duration{0, 7 * time.Second} {
		t.Run(keepAlive.String(), func(t *testing.T) {
			t.Parallel()
			check := func(what string, conn net.Conn) {
				t.Helper()
				got := optionsOf(t, conn)
				want := options{noDelay: 1, keepAlive: 1, idle: 7, interval: 7, probes: 9}
				if keepAlive == 0 {
					want = options{noDelay: 1, idle: got.idle, interval: got.interval, probes: got.probes}
				}
				if got != want {
					t.Errorf("%s has %+v, want %+v", what, got, want)
				}
			}
			handed := opened(t, "tcp", "127.0.0.1:0")
			for _, tt := range []struct {
				name         string
				listen, dial Address
				activation   *Activation
			}{
				{"own", freePort(t, "127.0.0.1"), Address{}, nil},
				{"handed over", parse(t, "systemd:web"), parse(t, handed.Addr().String()), handOver(t, "web", handed)},
			} {
				ln, err := Listen(t.Context(), tt.listen, ListenOptions{KeepAlive: keepAlive, Activation: tt.activation})
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				if tt.dial.IsZero() {
					tt.dial = tt.listen
				}
				byName := Address{network: "tcp", host: "localhost", port: tt.dial.port}
				for _, to := range []Address{tt.dial, byName} {
					conn, err := Dialer(to, keepAlive)(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					check("the connection dialled to "+to.String(), conn)
					accepted, err := ln.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer accepted.Close()
					check("the connection accepted on a socket of its "+tt.name, accepted)
				}
			}
		})
	}
}

// TestKeepAliveChangesForConnectionsToCome, as a reload has it, and again.
func TestKeepAliveChangesForConnectionsToCome(t *testing.T) {
	t.Parallel()
	a := freePort(t, "127.0.0.1")
	ln, err := Listen(t.Context(), a, ListenOptions{KeepAlive: 7 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accept := func(ln net.Listener) net.Conn {
		t.Helper()
		near, err := Dialer(a, 0)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { near.Close() })
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	before := accept(ln)
	for _, silence := range []int{11, 13, 0} {
		ln = KeptAlive(ln, time.Duration(silence)*time.Second)
		got := optionsOf(t, accept(ln))
		if alive := got.keepAlive != 0; alive != (silence > 0) || alive && (got.idle != silence || got.interval != silence) {
			t.Errorf("%d s: a connection has %+v", silence, got)
		}
	}
	if got := optionsOf(t, before); got.idle != 7 {
		t.Errorf("a connection of before has %+v", got)
	}
	if other := opened(t, "unix", unixPath(t).Path()); KeptAlive(other, time.Second) != other {
		t.Error("a listener that is not TCP is another one now")
	}
}
