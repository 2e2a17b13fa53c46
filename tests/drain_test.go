package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An ending is a way to ask a process to end.
type ending struct {
	name string
	ask  func(t *testing.T, p *process)
}

func bySignal(sig syscall.Signal) ending {
	return ending{sig.String(), func(t *testing.T, p *process) {
		t.Helper()
		p.signal(t, sig)
	}}
}

func byRequest() ending {
	return ending{"request", func(t *testing.T, p *process) {
		t.Helper()
		if code := p.status.post(t, "/_shutdown"); code != http.StatusOK {
			t.Errorf("POST /_shutdown: %d, want 200", code)
		}
	}}
}

// held is a connection whose reader waits, after the first bytes, until it may
// go on: what is sent to it meanwhile is on its way.
type held struct {
	net.Conn

	begun sync.Once
	began func()          // is called with the first bytes
	goOn  <-chan struct{} // is closed when the reader may go on
}

func (h *held) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.begun.Do(h.began)
	<-h.goOn
	return n, err
}

// readBuffered is what TCP and UNIX connections have in common.
type readBuffered interface{ SetReadBuffer(bytes int) error }

func (h *held) CloseWrite() error { return h.Conn.(halfCloser).CloseWrite() }

// TestDrainCompletesEstablishedTransfers asks both ends of a tunnel to end
// while transfers are on their way: a few large ones, more than all buffers on
// the way hold, and small ones.
func TestDrainCompletesEstablishedTransfers(t *testing.T) {
	t.Parallel()
	const small, large, few = 64 << 10, 24 << 20, 2
	transfers := 24
	if full() {
		transfers = 400
	}
	for _, test := range []struct {
		network string
		ending
	}{
		{"tcp", bySignal(syscall.SIGTERM)},
		{"unix", bySignal(syscall.SIGINT)},
		{"tcp", byRequest()},
	} {
		t.Run(test.name+" "+test.network, func(t *testing.T) {
			t.Parallel()
			tun := newTunnel(t, test.network, serve(t, "tcp", echo).address, "--enable-shutdown", "--connect-timeout", "1m")
			processes := []*process{tun.client, tun.server}

			ctx, letGo := context.WithCancel(t.Context())
			defer letGo()
			var began, ended sync.WaitGroup
			defer ended.Wait()
			defer letGo()
			for i := range transfers {
				conn := &held{Conn: dial(t, tun.network, tun.address), began: began.Done, goOn: ctx.Done()}
				if err := conn.Conn.(readBuffered).SetReadBuffer(small); err != nil {
					t.Fatal(err)
				}
				size := int64(small + i)
				if i < few {
					size += large
				}
				began.Add(1)
				ended.Go(func() {
					if err := exchange(conn, int64(i), size, 10_000); err != nil {
						t.Errorf("transfer %d: %v", i, err)
					}
				})
			}
			last := dial(t, tun.network, tun.address)
			if err := roundTrip(last); err != nil {
				t.Fatal(err)
			}
			began.Wait()

			for _, p := range processes {
				test.ask(t, p)
				p.waitLine(t, "shutting down")
				eventually(t, "the status tells of the drain", func() bool {
					code, r := p.status.report(t)
					return code == http.StatusServiceUnavailable && !r.OK && r.Message == "stopping" &&
						r.Draining != nil && r.Draining.Open > few && r.Draining.Deadline.After(time.Now())
				})
			}
			for network, address := range map[string]string{tun.network: tun.address, "tcp ": tun.serverAddress} {
				eventually(t, "new connections are refused at "+address, func() bool {
					conn, err := net.Dial(strings.TrimSpace(network), address)
					if err == nil {
						_ = conn.Close() // it came before the listener was closed
						return false
					}
					return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
				})
			}
			for _, p := range processes {
				p.signal(t, syscall.SIGHUP) // to be ignored
				for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
					if code, _ := p.status.get(t, path); code != want {
						t.Errorf("%s while draining: %d, want %d", path, code, want)
					}
				}
			}

			letGo()
			ended.Wait()
			for _, p := range processes {
				if code, r := p.status.report(t); code != http.StatusServiceUnavailable || r.Draining == nil || r.Draining.Open == 0 {
					t.Errorf("the last connection is open, and the status says %d %+v", code, r)
				}
			}
			if err := exchange(last, 1, 1000, 1000); err != nil {
				t.Error(err)
			}
			for _, p := range processes {
				if code := p.exit(t); code != 0 || p.stderr.String() != "" {
					t.Errorf("%s: exit code %d and %q, want 0 and nothing", p.name, code, &p.stderr)
				}
				if reloads := p.lines("msg=reload"); len(reloads) > 0 {
					t.Errorf("%s has reloaded while draining: %q", p.name, reloads)
				}
			}
			if tun.network == "unix" {
				checkGone(t, tun.address)
			}
		})
	}
}

// checkGone fails the test if there is a file at path.
func checkGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", path, err)
	}
}

// flood sends without an end.
func flood(conn net.Conn) { _, _ = io.Copy(conn, noise(1)) }

// TestDrainIsCutShortAtItsLimit has a peer that never ends, in one way and in
// another.
func TestDrainIsCutShortAtItsLimit(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(net.Conn){"silent": echo, "not reading": flood} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit = time.Second
			p := newPKI(t)
			service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), handle))
			listen, status := filepath.Join(t.TempDir(), "listen"), filepath.Join(t.TempDir(), "status")
			client := start(t, append(p.client(t).flags(), "client", "--listen", "unix:"+listen, "--target", service.address,
				"--cacert", p.root, "--status", "unix:"+status, "--shutdown-timeout", limit.String())...)
			stuck := dial(t, "unix", listen)
			if _, err := io.WriteString(stuck, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(stuck, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}

			asked := time.Now()
			client.signal(t, syscall.SIGTERM)
			code := client.exit(t)
			if took := time.Since(asked); code != 1 || took < limit {
				t.Errorf("exit code %d after %v, want 1 after %v", code, took, limit)
			}
			if got, want := client.stderr.String(), "sallyport: open connections were closed after --shutdown-timeout 1s\n"; got != want {
				t.Errorf("standard error %q, want %q", got, want)
			}
			client.waitLine(t, "closed pipe", "reason=shutdown")
			checkGone(t, listen)
			checkGone(t, status)
		})
	}
}

// TestForcedEndShowsPeersThatItIsNone: whoever is cut off must not take what it
// got for the whole.
func TestForcedEndShowsPeersThatItIsNone(t *testing.T) {
	t.Parallel()
	tun := newTunnel(t, "tcp", serve(t, "tcp", echo).address, "--shutdown-timeout", "0s")
	conn := dial(t, "tcp", tun.address)
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	tun.client.signal(t, syscall.SIGTERM)
	if code := tun.client.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client's connection ended with %v, want a reset", err)
	}
	tun.server.waitLine(t, "closed pipe")
	tun.server.stop(t) // which has nothing left to force
}

// TestSecondSignalEndsTheDrainAtOnce asks twice, in different ways; nothing
// else would end the drain before the test's patience does.
func TestSecondSignalEndsTheDrainAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first  ending
		second syscall.Signal
	}{
		{bySignal(syscall.SIGTERM), syscall.SIGTERM},
		{bySignal(syscall.SIGINT), syscall.SIGTERM},
		{byRequest(), syscall.SIGINT},
	} {
		t.Run(fmt.Sprintf("%s, %s", test.first.name, test.second), func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all", "--enable-shutdown")
			conn := connect(t, listen, p.clientConfig(p.client(t)))
			if err := roundTrip(conn); err != nil {
				t.Fatal(err)
			}
			test.first.ask(t, server)
			server.waitLine(t, "shutting down")
			if test.first.name == byRequest().name { // the first signal behind it is what a manager sends after its preStop hook
				server.signal(t, syscall.SIGTERM)
			}
			server.signal(t, test.second)
			if code := server.exit(t); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if got := server.stderr.String(); !strings.HasPrefix(got, "sallyport: open connections were closed by a second ") || strings.Count(got, "\n") != 1 {
				t.Errorf("standard error %q, want one line about the second signal", got)
			}
		})
	}
}

// TestSecondRequestForShutdownDoesNoHarm: unlike a signal, it may be repeated.
func TestSecondRequestForShutdownDoesNoHarm(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all", "--enable-shutdown")
	conn := connect(t, listen, p.clientConfig(p.client(t)))
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		byRequest().ask(t, server)
		server.waitLine(t, "shutting down")
	}
	if err := exchange(conn, 1, 1<<20, 4096); err != nil {
		t.Error(err)
	}
	if code := server.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestDrainDoesNotWaitForHandshakes: a connection that is not established yet
// has nothing to complete.
func TestDrainDoesNotWaitForHandshakes(t *testing.T) {
	t.Parallel()
	silent := serve(t, "tcp", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	for _, mode := range []string{"server", "client"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			var process *process
			if mode == "server" {
				process = startServer(t, p, listen, silent.address, "--allow-all", "--connect-timeout", "1h")
			} else {
				process = startClient(t, p, listen, silent.address, "--connect-timeout", "1h")
			}
			dial(t, "tcp", listen)
			eventually(t, "the connection is in hand", func() bool {
				return process.status.metric(t, "ghostunnel.accept.total") == 1
			})
			process.stop(t)
		})
	}
}
