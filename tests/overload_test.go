package tests

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory asks how many bytes are in use for objects and stacks, after garbage
// was collected; that needs --enable-pprof.
func (s *statusPort) memory(t *testing.T) int64 {
	t.Helper()
	code, profile := s.get(t, "/debug/pprof/heap?gc=1&debug=1")
	sum, found := int64(0), 0
	for line := range strings.Lines(profile) {
		var n int64
		for _, format := range []string{"# HeapInuse = %d", "# Stack = %d"} {
			if _, err := fmt.Sscanf(line, format, &n); err == nil {
				sum, found = sum+n, found+1
			}
		}
	}
	if found != 2 {
		t.Fatalf("GET /debug/pprof/heap: %d, and no numbers in\n%s", code, profile)
	}
	return sum
}

// helloOf is the first that a client with this configuration sends.
func helloOf(t *testing.T, config *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	bound(t, near)
	bound(t, far)
	ended := make(chan error, 1)
	go func() { ended <- tls.Client(near, config).Handshake() }()
	hello := make([]byte, 16<<10)
	n, err := far.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the end of a handshake with nobody", ended); err == nil {
		t.Fatal("a handshake with nobody succeeded")
	}
	return hello[:n]
}

// closeAll closes connections, which a drain would wait for.
func closeAll(t *testing.T, conns ...net.Conn) {
	t.Helper()
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestHalfOpenHandshakesLeaveOthersAlone opens 2,000 handshakes that nobody goes
// on with, a third of them after the server has computed its half. Established
// connections go on meanwhile and new ones come through; after it, all that the
// flood took is given back.
func TestHalfOpenHandshakesLeaveOthersAlone(t *testing.T) {
	t.Parallel()
	const live, flood = 8, 2000
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address,
		"--allow-all", "--enable-pprof", "--connect-timeout", "1h", "--quiet", "handshake-errs")
	config := p.clientConfig(p.client(t))
	var established []net.Conn
	for range live {
		conn := connect(t, listen, config)
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
		established = append(established, conn)
	}
	before, quiet := server.holdings(t), server.status.memory(t)

	over := make(chan struct{})
	var all sync.WaitGroup
	for _, conn := range established {
		all.Go(func() {
			for n := 0; ; n++ {
				if err := roundTrip(conn); err != nil {
					t.Errorf("an established connection, after %d round trips beside the flood: %v", n, err)
					return
				}
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	hello := helloOf(t, config)
	starts := [][]byte{nil, hello[:len(hello)/2], hello}
	var halfOpen []net.Conn
	for i := range flood {
		conn := dial(t, "tcp", listen)
		if _, err := conn.Write(starts[i%len(starts)]); err != nil {
			t.Fatal(err)
		}
		halfOpen = append(halfOpen, conn)
	}
	for i, conn := range halfOpen {
		if i%len(starts) < 2 {
			continue
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the server's answer to a ClientHello: %v", err)
		}
	}
	eventually(t, "the whole flood is in hand", func() bool {
		return server.status.metric(t, "ghostunnel.conn.open") == live+flood
	})
	if err := attempt(t, listen, config); err != nil {
		t.Errorf("a client in the middle of the flood: %v", err)
	}
	close(over)
	all.Wait()

	peak := server.status.memory(t)
	t.Logf("in use: %d KiB; with the flood %d KiB, %d bytes for each of it", quiet>>10, peak>>10, (peak-quiet)/flood)
	closeAll(t, halfOpen...)
	before.waitFor(t, server)
	eventually(t, "the memory is given back", func() bool {
		return server.status.memory(t)-quiet < (peak-quiet)/4
	})
	for _, conn := range established {
		if err := exchange(conn, 1, 10_000, 1000); err != nil {
			t.Errorf("an established connection after the flood: %v", err)
		}
	}
	server.stop(t)
}

// TestMaxHandshakesHoldsTheRestInTheQueue and lets them in one for one, while
// established connections do not count.
func TestMaxHandshakesHoldsTheRestInTheQueue(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all", "--max-handshakes", "2", "--connect-timeout", "1h")
	config := p.clientConfig(p.client(t))
	var established []net.Conn
	for range 3 {
		conn := connect(t, listen, config)
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
		established = append(established, conn)
	}
	silent := []net.Conn{dial(t, "tcp", listen), dial(t, "tcp", listen)}
	eventually(t, "both are in hand", func() bool { return server.status.metric(t, "ghostunnel.conn.open") == 5 })

	queued := dial(t, "tcp", listen)
	if _, err := queued.Write(helloOf(t, config)); err != nil {
		t.Fatal(err)
	}
	if err := queued.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := queued.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatalf("the third handshake got %d bytes, %v; want it to wait", n, err)
	}
	for _, conn := range established {
		if err := roundTrip(conn); err != nil {
			t.Errorf("an established connection: %v", err)
		}
	}

	if err := silent[0].Close(); err != nil {
		t.Fatal(err)
	}
	bound(t, queued)
	if _, err := queued.Read(make([]byte, 1)); err != nil {
		t.Errorf("the third handshake, when there was room: %v", err)
	}
	if err := queued.Close(); err != nil {
		t.Fatal(err)
	}
	if err := attempt(t, listen, config); err != nil {
		t.Errorf("a client after it: %v", err)
	}
	closeAll(t, established...)
	server.stop(t)
}

// TestMaxConnsPerIPClosesWhatOneAddressHasTooMuchOf and nobody else's.
func TestMaxConnsPerIPClosesWhatOneAddressHasTooMuchOf(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all", "--max-conns-per-ip", "2")
	config := p.clientConfig(p.client(t))
	first, second := connect(t, listen, config), connect(t, listen, config)
	for _, conn := range []net.Conn{first, second} {
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
	}
	surplus := dial(t, "tcp", listen)
	if n, err := surplus.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("a third connection got %d bytes, %v; want it closed", n, err)
	}
	server.waitLine(t, "error on accept", "remote=127.0.0.1:", "reason=too_many_from_source")
	if failed := server.status.metric(t, "ghostunnel.accept.error"); failed != 1 {
		t.Errorf("%v accept.error, want 1", failed)
	}

	elsewhere := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
	other, err := elsewhere.DialContext(t.Context(), "tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	bound(t, other)
	if err := roundTrip(tls.Client(other, config)); err != nil {
		t.Errorf("a connection from another address: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	server.waitLine(t, "closed pipe")
	eventually(t, "there is room for one more", func() bool {
		conn, err := handshake(t.Context(), listen, config)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		return roundTrip(conn) == nil
	})
	if n := service.connections(); n != 4 {
		t.Errorf("the target has seen %d connections, want 4", n)
	}
	closeAll(t, second, other)
	server.stop(t)
}
