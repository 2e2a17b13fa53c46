package tests

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// noise is an endless stream of bytes that differs from seed to seed.
func noise(seed int64) io.Reader {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%032d", seed))
	return rand.NewChaCha8(key)
}

// send writes the first size bytes of noise, in writes of at most chunk bytes,
// ends the direction, and returns the sum of what it wrote.
func send(conn net.Conn, seed, size int64, chunk int) (hash.Hash, error) {
	sum := sha256.New()
	// The wrapped Writer has no ReadFrom, which would ignore the buffer.
	from := io.TeeReader(io.LimitReader(noise(seed), size), sum)
	if _, err := io.CopyBuffer(struct{ io.Writer }{conn}, from, make([]byte, chunk)); err != nil {
		return nil, fmt.Errorf("sending: %w", err)
	}
	if err := conn.(halfCloser).CloseWrite(); err != nil {
		return nil, fmt.Errorf("ending: %w", err)
	}
	return sum, nil
}

// receiveAll reads to the end and returns the sum of what it read.
func receiveAll(conn net.Conn) (hash.Hash, int64, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, conn)
	if err != nil {
		return nil, n, fmt.Errorf("receiving after %d bytes: %w", n, err)
	}
	return sum, n, nil
}

// exchange sends size bytes to something that echoes and checks that they come
// back, while it still sends.
func exchange(conn net.Conn, seed, size int64, chunk int) error {
	var sent hash.Hash
	sending := make(chan error, 1)
	go func() {
		var err error
		sent, err = send(conn, seed, size, chunk)
		sending <- err
	}()
	received, n, err := receiveAll(conn)
	if err := errors.Join(<-sending, err); err != nil {
		return err
	}
	if n != size || string(received.Sum(nil)) != string(sent.Sum(nil)) {
		return fmt.Errorf("sent %d bytes and received %d, with another sum", size, n)
	}
	return nil
}

func TestTransferBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	size := int64(64 << 20)
	if full() {
		size = 1 << 30
	}
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			tun := newTunnel(t, network, serve(t, network, echo).address)
			if err := exchange(dial(t, network, tun.address), 1, size, 64<<10); err != nil {
				t.Error(err)
			}
			tun.stop(t)
		})
	}
}

func TestTransferOfManyConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	const connections = 500
	// How long so many handshakes at once take is up to what else the machine does.
	tun := newTunnel(t, "tcp", serve(t, "tcp", echo).address, "--connect-timeout", "1h")

	// All are open before the first one sends.
	conns := make([]net.Conn, connections)
	for i := range conns {
		conns[i] = dial(t, "tcp", tun.address)
	}
	var all sync.WaitGroup
	for i, conn := range conns {
		all.Go(func() {
			// From 1 byte to more than any buffer on the way holds.
			size := int64(1) << (i % 21)
			if i%2 == 1 {
				size += int64(i)
			}
			if err := exchange(conn, int64(i), size, 1+i*97); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	all.Wait()
	tun.stop(t)
}

func TestTransferByteAtATime(t *testing.T) {
	t.Parallel()
	tun := newTunnel(t, "tcp", serve(t, "tcp", echo).address)
	if err := exchange(dial(t, "tcp", tun.address), 1, 4096, 1); err != nil {
		t.Error(err)
	}
	tun.stop(t)
}

// TestHalfClose has the target, and in turn the client, end its direction first
// while the other goes on: to a plain end over TCP or UNIX sockets, and to a TLS
// end.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	type result struct {
		sum hash.Hash
		n   int64
		err error
	}
	ends := []struct {
		name string
		open func(t *testing.T, target string) net.Conn
	}{
		{"TCP", func(t *testing.T, target string) net.Conn {
			t.Helper()
			return dial(t, "tcp", newTunnel(t, "tcp", target).address)
		}},
		{"UNIX", func(t *testing.T, target string) net.Conn {
			t.Helper()
			return dial(t, "unix", newTunnel(t, "unix", target).address)
		}},
		{"TLS", func(t *testing.T, target string) net.Conn {
			t.Helper()
			p := newPKI(t)
			listen := reserve(t)
			startServer(t, p, listen, target, "--allow-all")
			conn := tls.Client(dial(t, "tcp", listen), &tls.Config{
				ServerName:   "localhost",
				RootCAs:      p.Pool(),
				Certificates: []tls.Certificate{p.client(t).TLSCertificate()},
			})
			if err := conn.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			return conn
		}},
	}
	for _, end := range ends {
		for _, target := range []string{"tcp", "unix"} {
			t.Run(end.name+" client first, to "+target, func(t *testing.T) {
				t.Parallel()
				// The target reads to the end before it answers at all.
				heard := make(chan result, 1)
				service := serve(t, target, func(conn net.Conn) {
					sum, n, err := receiveAll(conn)
					heard <- result{sum, n, err}
					_, _ = send(conn, 2, size, 4096) // the test misses what is not sent
				})
				conn := end.open(t, service.address)
				sent, err := send(conn, 1, size, 4096)
				if err != nil {
					t.Fatal(err)
				}
				if got := receive(t, "what the target has received", heard); got.err != nil || string(got.sum.Sum(nil)) != string(sent.Sum(nil)) {
					t.Errorf("the target got %d bytes of %d: %v", got.n, size, got.err)
				}
				checkNoise(t, conn, 2, size)
			})
			t.Run(end.name+" target first, to "+target, func(t *testing.T) {
				t.Parallel()
				heard := make(chan result, 1)
				service := serve(t, target, func(conn net.Conn) {
					_, _ = send(conn, 2, size, 4096) // the test misses what is not sent
					sum, n, err := receiveAll(conn)
					heard <- result{sum, n, err}
				})
				conn := end.open(t, service.address)
				// Only then does the client begin.
				checkNoise(t, conn, 2, size)
				sent, err := send(conn, 1, size, 4096)
				if err != nil {
					t.Fatal(err)
				}
				if got := receive(t, "what the target has received", heard); got.err != nil || string(got.sum.Sum(nil)) != string(sent.Sum(nil)) {
					t.Errorf("the target got %d bytes of %d: %v", got.n, size, got.err)
				}
			})
		}
	}
}

// checkNoise reads conn to its end and fails the test unless that was exactly
// the first size bytes of noise.
func checkNoise(t *testing.T, conn net.Conn, seed, size int64) {
	t.Helper()
	want := sha256.New()
	if _, err := io.CopyN(want, noise(seed), size); err != nil {
		t.Fatal(err)
	}
	got, n, err := receiveAll(conn)
	if err != nil || n != size || string(got.Sum(nil)) != string(want.Sum(nil)) {
		t.Errorf("the client got %d bytes of %d: %v", n, size, err)
	}
}
