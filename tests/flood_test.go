package tests

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// descriptors is how many descriptors the process has open.
func (p *process) descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "fd"))
	if err != nil {
		skip(t, "the descriptors of a process cannot be counted here: "+err.Error())
	}
	return len(open)
}

// holdings is what a process has; it needs --enable-pprof.
type holdings struct{ goroutines, descriptors int }

func (p *process) holdings(t *testing.T) holdings {
	t.Helper()
	return holdings{p.status.goroutines(t), p.descriptors(t)}
}

// waitFor waits until the process has no more than it had before.
func (before holdings) waitFor(t *testing.T, p *process) {
	t.Helper()
	var now holdings
	defer func() {
		if t.Failed() {
			t.Logf("before: %+v, now: %+v", before, now)
		}
	}()
	eventually(t, p.name+" has what it had before", func() bool {
		now = p.holdings(t)
		return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors
	})
}

// TestFloodOfUselessConnectionsKeepsNobodyOut opens silent connections and ones
// that send garbage: clients come through meanwhile, and after
// --connect-timeout nothing is left of the flood, which closes nothing itself.
func TestFloodOfUselessConnectionsKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	const each = 100
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all", "--enable-pprof", "--connect-timeout", "4s")
	config := p.clientConfig(p.client(t))
	if err := attempt(t, listen, config); err != nil {
		t.Fatal(err)
	}
	server.waitLine(t, "closed pipe")
	before := server.holdings(t)

	noTLS := make([]byte, 1000)
	if _, err := io.ReadFull(noise(1), noTLS); err != nil {
		t.Fatal(err)
	}
	noTLS[0] = 'G' // which no TLS record begins with
	for _, garbage := range [][]byte{
		nil, nil, // silent
		noTLS,
		append([]byte{22, 3, 1, 0x3f, 0xff}, noTLS...), // a record that never ends
	} {
		for range each {
			conn := dial(t, "tcp", listen)
			if _, err := conn.Write(garbage); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		if err := attempt(t, listen, config); err != nil {
			t.Errorf("a client in the middle of the flood: %v", err)
		}
	}
	server.waitLines(t, each, "error on TLS handshake", "reason=not_tls")
	server.waitLines(t, 3*each, "error on TLS handshake", "reason=timeout")
	before.waitFor(t, server)
	if timeouts := server.status.metric(t, "ghostunnel.accept.timeout"); timeouts != 3*each {
		t.Errorf("%v accept.timeout, want %d", timeouts, 3*each)
	}
	if n := service.connections(); n != 21 {
		t.Errorf("the target has seen %d connections, want those of the clients, 21", n)
	}
	server.stop(t)
}

// TestGarbageOnTheTLSPortIsRefused sends one kind after the other.
func TestGarbageOnTheTLSPortIsRefused(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all")
	for i, garbage := range []struct{ name, data, reason string }{
		{"HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not_tls"},
		{"zeros", strings.Repeat("\x00", 4096), "not_tls"},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", "not_tls"},
		{"a record that is too large", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 1000), "oversized_record"},
		{"a ClientHello of noise", "\x16\x03\x01\x00\x64\x01\x00\x00\x60" + strings.Repeat("\xa5", 96), "bad_tls_message"},
		{"application data first", "\x17\x03\x03\x00\x05hello", "not_tls"},
	} {
		conn := dial(t, "tcp", listen)
		if _, err := io.WriteString(conn, garbage.data); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("%s: the connection stays open", garbage.name)
		}
		if line := server.waitLines(t, i+1, "error on TLS handshake")[i]; !strings.Contains(line, "reason="+garbage.reason+" ") {
			t.Errorf("%s: logged %q, want reason=%s", garbage.name, line, garbage.reason)
		}
	}
	if n := service.connections(); n != 0 {
		t.Errorf("the target has seen %d connections", n)
	}
	server.stop(t)
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// TestNothingIsLeftOfConnections counts what both ends of a tunnel have after
// many connections, in different stages of which the client goes away.
func TestNothingIsLeftOfConnections(t *testing.T) {
	t.Parallel()
	tun := newTunnel(t, "tcp", serve(t, "tcp", echo).address, "--enable-pprof")
	processes := []*process{tun.client, tun.server}
	if err := exchange(dial(t, "tcp", tun.address), 1, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	var before []holdings
	for _, p := range processes {
		p.waitLine(t, "closed pipe")
		before = append(before, p.holdings(t))
	}
	var all sync.WaitGroup
	for i := range 60 {
		conn := dial(t, "tcp", tun.address)
		all.Go(func() {
			switch i % 3 {
			case 0:
				if err := exchange(conn, int64(i), 10_000, 1000); err != nil {
					t.Error(err)
				}
			case 1: // a reset while an echo is on its way
				_, _ = conn.Write(make([]byte, 100_000))
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			_ = conn.Close() // in the last case it was silent
		})
	}
	all.Wait()
	for i, p := range processes {
		before[i].waitFor(t, p)
		if open := p.status.metric(t, "ghostunnel.conn.open"); open != 0 {
			t.Errorf("%s: conn.open is %v", p.name, open)
		}
	}
	tun.stop(t)
}

// TestRunningOutOfDescriptorsRecovers takes all that a process may have.
func TestRunningOutOfDescriptorsRecovers(t *testing.T) {
	t.Parallel()
	const limit = 40
	p, listen := newPKI(t), reserve(t)
	server := startLimited(t, limit, serverLine(t, p, listen, serve(t, "tcp", echo).address,
		"--allow-all", "--status", "http://"+reserve(t), "--connect-timeout", "1h")...)
	config := p.clientConfig(p.client(t))
	open := connect(t, listen, config)
	if err := roundTrip(open); err != nil {
		t.Fatal(err)
	}

	var silent []net.Conn
	for range limit {
		silent = append(silent, dial(t, "tcp", listen))
	}
	// The pause between the tries grows.
	for _, pause := range []string{"5ms", "10ms", "20ms"} {
		server.waitLine(t, "error on accept", "reason=too_many_files", "retry_in="+pause)
	}
	if err := roundTrip(open); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	for _, conn := range silent {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := attempt(t, listen, config); err != nil {
		t.Errorf("a client after it: %v", err)
	}
	if err := exchange(open, 1, 1<<20, 4096); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	server.stop(t)
}

// TestMaxConcurrentConnsHoldsTheRestInTheQueue and lets them in one for one.
func TestMaxConcurrentConnsHoldsTheRestInTheQueue(t *testing.T) {
	t.Parallel()
	service := serve(t, "tcp", echo)
	tun := newTunnel(t, "tcp", service.address, "--max-concurrent-conns", "2")
	first, second := dial(t, "tcp", tun.address), dial(t, "tcp", tun.address)
	for _, conn := range []net.Conn{first, second} {
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
	}
	queued := dial(t, "tcp", tun.address)
	if _, err := io.WriteString(queued, "waits"); err != nil {
		t.Fatal(err)
	}
	if err := queued.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := queued.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatalf("the third connection got %d bytes, %v; want it to wait", n, err)
	}
	for _, p := range []*process{tun.client, tun.server} {
		// Not /_status: the client's check of its target would wait in the server's queue.
		if total := p.status.metric(t, "ghostunnel.accept.total"); total != 2 {
			t.Errorf("%s has accepted %v connections, want 2", p.name, total)
		}
	}

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	bound(t, queued)
	back := make([]byte, len("waits"))
	if _, err := io.ReadFull(queued, back); err != nil || string(back) != "waits" {
		t.Errorf("got %q, %v when there was room", back, err)
	}
	for _, conn := range []net.Conn{second, queued} {
		if err := exchange(conn, 1, 10_000, 1000); err != nil {
			t.Error(err)
		}
	}
	tun.stop(t)
}
