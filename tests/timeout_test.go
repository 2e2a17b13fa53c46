package tests

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestTimeLimitsEndConnections sets one limit at a time. Nothing but it would
// end the connection before the test's patience does.
func TestTimeLimitsEndConnections(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		flags  []string
		limit  time.Duration // until when it must not end
		end    bool          // whether the client ends its direction
		reason string
		counts bool // as conn.timeout
	}{
		{"idle", []string{"--idle-timeout", "400ms"}, 400 * time.Millisecond, false, "idle_timeout", true},
		{"lifetime", []string{"--max-conn-lifetime", "400ms"}, 400 * time.Millisecond, false, "lifetime", true},
		{"close", []string{"--close-timeout", "400ms"}, 400 * time.Millisecond, true, "close_timeout", true},
		{"close at once", []string{"--close-timeout", "0"}, 0, true, "eof", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			service := serve(t, "tcp", func(conn net.Conn) {
				_, _ = io.Copy(conn, conn)
				<-t.Context().Done() // it ends its own direction only with the test
			})
			server := startServer(t, p, listen, service.address, append(test.flags, "--allow-all")...)
			begun := time.Now()
			conn := connect(t, listen, p.clientConfig(p.client(t)))
			if err := roundTrip(conn); err != nil {
				t.Fatal(err)
			}
			if test.end {
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := io.Copy(io.Discard, conn); n != 0 || isTimeout(err) {
				t.Errorf("read %d bytes, %v; want the end", n, err)
			}
			if took := time.Since(begun); took < test.limit {
				t.Errorf("the connection ended after %v, want no less than %v", took, test.limit)
			}
			server.waitLine(t, "closed pipe", "reason="+test.reason)
			want := 0.0
			if test.counts {
				want = 1
			}
			if got := server.status.metric(t, "ghostunnel.conn.timeout"); got != want {
				t.Errorf("conn.timeout is %v, want %v", got, want)
			}
			server.stop(t)
		})
	}
}

// TestIdleTimeoutSparesConnectionsInUse lets bytes go one way alone, now and
// then, for several times the limit.
func TestIdleTimeoutSparesConnectionsInUse(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	handle, received := record()
	tun := newTunnel(t, "tcp", serve(t, "tcp", handle).address, "--idle-timeout", limit.String())
	conn := dial(t, "tcp", tun.address)
	again := time.NewTicker(limit / 10)
	defer again.Stop()
	sent := 0
	for begun := time.Now(); time.Since(begun) < 2*limit; sent++ {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		<-again.C
	}
	if err := conn.(halfCloser).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "what the target has received", received); len(got) != sent {
		t.Errorf("the target has received %d bytes, want %d", len(got), sent)
	}
	for _, p := range []*process{tun.client, tun.server} {
		p.waitLine(t, "closed pipe", "reason=eof")
	}
	tun.stop(t)
}

// TestConnectTimeoutEndsSilentPeers, be it the client of server mode or the
// target of client mode.
func TestConnectTimeoutEndsSilentPeers(t *testing.T) {
	t.Parallel()
	silent := serve(t, "tcp", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	for _, mode := range []string{"server", "client"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			run := startClient
			args := []string{"--connect-timeout", "400ms"}
			if mode == "server" {
				run = startServer
				args = append(args, "--allow-all")
			}
			process := run(t, p, listen, silent.address, args...)
			conn := dial(t, "tcp", listen)
			if n, err := conn.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
				t.Errorf("read %d bytes, %v; want the end", n, err)
			}
			process.waitLine(t, "error on TLS handshake", "reason=timeout")
			if got := process.status.metric(t, "ghostunnel.accept.timeout"); got != 1 {
				t.Errorf("accept.timeout is %v, want 1", got)
			}
			process.stop(t)
		})
	}
}
