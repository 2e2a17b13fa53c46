package tests

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/devpki"
)

// BenchmarkPingPongBesideFlood is how long the slowest hundredth of the round
// trips on 8 established connections take while 2,000 peers begin handshakes
// that they do not go on with, against how long it takes without them. Each
// peer makes the server compute its half of the handshake for the price of a
// ClientHello that was made once. Server, peers and those who are measured are
// three processes on one machine, of which the peers come last: what the flood
// costs those who make it is no part of the figure.
func BenchmarkPingPongBesideFlood(b *testing.B) {
	const live, flood = 8, 2000
	dir := b.TempDir()
	if err := devpki.Init(dir, devpki.FileOptions{}); err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(dir, "sallyport")
	if out, err := exec.Command("go", "build", "-o", binary, "sallyport").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	back, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			c, err := back.Accept()
			if err != nil {
				return
			}
			go echo(c)
		}
	}()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := front.Addr().String()
	_ = front.Close()
	server := exec.Command(binary, "server", "--listen", address, "--target", back.Addr().String(), "--allow-all", "--quiet", "all",
		"--cert", filepath.Join(dir, "server.pem"), "--key", filepath.Join(dir, "server-key.pem"), "--cacert", filepath.Join(dir, "ca.pem"),
		"--connect-timeout", "1m")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = back.Close()
	})
	clients := pingPongClients(b, dir, address, live)
	floodOnce := func() {
		peers := exec.Command("nice", "-n", "19", os.Args[0]) // they stand for others' machines
		peers.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", floodVariable, flood, address))
		if out, err := peers.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	var quiet, beside []time.Duration
	for b.Loop() {
		quiet = append(quiet, pingPong(b, clients, func() { time.Sleep(time.Second) })...)
		beside = append(beside, pingPong(b, clients, floodOnce)...)
	}
	for _, client := range clients {
		_ = client.Close()
	}
	without, with := p99(quiet), p99(beside)
	b.ReportMetric(float64(without.Microseconds()), "µs-p99-quiet")
	b.ReportMetric(float64(with.Microseconds()), "µs-p99-flood")
	b.ReportMetric(float64(with)/float64(without), "p99-ratio")
}

// pingPongClients connects so many, as soon as the server serves.
func pingPongClients(b *testing.B, dir, address string, n int) []*tls.Conn {
	b.Helper()
	identity, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		b.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	config := &tls.Config{Certificates: []tls.Certificate{identity}, RootCAs: roots, ServerName: "localhost"}
	var clients []*tls.Conn
	for deadline := time.Now().Add(patience); len(clients) < n; {
		client, err := tls.Dial("tcp", address, config)
		switch {
		case err == nil:
			clients = append(clients, client)
		case time.Now().After(deadline):
			b.Fatal(err)
		}
	}
	return clients
}

// pingPongPace is how often each client of pingPong has a round trip to make.
const pingPongPace = 5 * time.Millisecond

// pingPong sends a byte there and back over each of the clients, again and
// again until meanwhile returns, and returns how long each round trip took from
// when it was due. To count from when it was begun would hide a stall: a client
// that waits for one answer begins no others, so that few of its round trips
// would be slow.
func pingPong(b *testing.B, clients []*tls.Conn, meanwhile func()) []time.Duration {
	b.Helper()
	var enough atomic.Bool
	took := make([][]time.Duration, len(clients))
	var all sync.WaitGroup
	for i, client := range clients {
		all.Go(func() {
			ball := []byte{1}
			for due := time.Now(); !enough.Load(); due = due.Add(pingPongPace) {
				time.Sleep(time.Until(due))
				if _, err := client.Write(ball); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(client, ball); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(due))
			}
		})
	}
	meanwhile()
	enough.Store(true)
	all.Wait()
	return slices.Concat(took...)
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

// floodVariable has this program, run once more, be the peers of
// BenchmarkPingPongBesideFlood, if it is "NUMBER ADDRESS".
const floodVariable = "SALLYPORT_TESTS_FLOOD"

// beginHandshakes has so many peers connect and then send the same ClientHello,
// all at once, and returns when the server has answered all of them.
func beginHandshakes(order string) error {
	var peers int
	var address string
	if _, err := fmt.Sscan(order, &peers, &address); err != nil {
		return err
	}
	near, far := net.Pipe()
	go func() { _ = tls.Client(near, &tls.Config{ServerName: "localhost"}).Handshake() }()
	hello := make([]byte, 16<<10)
	n, err := far.Read(hello)
	if err != nil {
		return err
	}
	_ = far.Close()
	conns := make([]net.Conn, peers)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", address); err != nil {
			return err
		}
	}
	answered := make(chan error)
	for _, c := range conns {
		if _, err := c.Write(hello[:n]); err != nil {
			return err
		}
		go func() {
			_, err := c.Read(make([]byte, 1))
			answered <- err
		}()
	}
	var failed []error
	for range conns {
		failed = append(failed, <-answered)
	}
	return errors.Join(failed...)
}
