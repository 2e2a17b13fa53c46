package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchServer serves a TLS server mode tunnel over loopback TCP, and returns its address and the target's listener.
func benchServer(b *testing.B, server *Server) (string, net.Listener) {
	b.Helper()
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return ln
	}
	front, back := listen(), listen()
	server.Dial, server.CloseTimeout = dialerTo(back), time.Minute
	served := make(chan error, 1)
	go func() { served <- server.Serve(front) }()
	b.Cleanup(func() {
		_ = back.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			b.Error(err)
		}
	})
	return front.Addr().String(), back
}

// echoAll is a target that sends everything back.
func echoAll(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// BenchmarkForward moves bytes from a TLS client to a plain target, both in this process; so the figure includes the client's
// encryption.
func BenchmarkForward(b *testing.B) {
	certs := newPKI(b)
	address, back := benchServer(b, &Server{TLS: certs.serverConfig()})
	config := certs.clientConfig()
	client, err := tls.Dial("tcp", address, config)
	if err != nil {
		b.Fatal(err)
	}
	target, err := back.Accept()
	if err != nil {
		b.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	b.SetBytes(int64(len(chunk)))
	received := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, target)
		received <- err
	}()
	for b.Loop() {
		if _, err := client.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = client.Close()
	if err := <-received; err != nil {
		b.Fatal(err)
	}
	_ = target.Close()
}

// BenchmarkConnect opens a connection with a full mutual handshake, sends a byte there and back, and closes it.
func BenchmarkConnect(b *testing.B) {
	certs := newPKI(b)
	address, back := benchServer(b, &Server{TLS: certs.serverConfig()})
	go echoAll(back)
	config := certs.clientConfig()
	buf := make([]byte, 1)
	for b.Loop() {
		client, err := tls.Dial("tcp", address, config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			b.Fatal(err)
		}
		_ = client.Close()
	}
}

// BenchmarkPingPongBesideFlood is how long the slowest hundredth of the round trips on 8 established connections take while
// 2,000 peers begin handshakes that they do not go on with, against how long it takes without them. Each peer makes the
// server compute its half of the handshake for the price of a ClientHello that was made once.
func BenchmarkPingPongBesideFlood(b *testing.B) {
	const live, flood = 8, 2000
	for _, gated := range []bool{true, false} {
		b.Run(fmt.Sprintf("gate=%t", gated), func(b *testing.B) {
			certs := newPKI(b)
			server := &Server{TLS: certs.serverConfig(), HandshakeTimeout: time.Minute, MaxHandshakes: 2048}
			if gated {
				server.Gate = NewGate(runtime.GOMAXPROCS(0))
			}
			address, back := benchServer(b, server)
			go echoAll(back)
			var clients []*tls.Conn
			for range live {
				client, err := tls.Dial("tcp", address, certs.clientConfig())
				if err != nil {
					b.Fatal(err)
				}
				clients = append(clients, client)
			}
			hello := clientHello(b, certs.clientConfig())
			var quiet, beside []time.Duration
			for b.Loop() {
				var half []net.Conn
				beside = append(beside, pingPong(b, clients, func() { half = beginHandshakes(b, address, hello, flood) })...)
				for _, c := range half {
					_ = c.Close()
				}
				for n, _ := server.Counts(); n > live; n, _ = server.Counts() {
					time.Sleep(time.Millisecond)
				}
				quiet = append(quiet, pingPong(b, clients, func() { time.Sleep(time.Second) })...)
			}
			for _, client := range clients {
				_ = client.Close()
			}
			without, with := p99(quiet), p99(beside)
			b.ReportMetric(float64(without.Microseconds()), "µs-p99-quiet")
			b.ReportMetric(float64(with.Microseconds()), "µs-p99-flood")
			b.ReportMetric(float64(with)/float64(without), "p99-ratio")
		})
	}
}

// pingPongPace is how often each client of pingPong has a round trip to make.
const pingPongPace = 5 * time.Millisecond

// pingPong sends a byte there and back over each of the clients, again and again until meanwhile returns, and returns how long
// each round trip took from when it was due. To count from when it was begun would hide a stall: a client that waits for one
// answer begins no others, so that few of its round trips would be slow.
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

// beginHandshakes has so many peers connect and then send the same ClientHello, all at once, and returns when the server has
// answered all of them.
func beginHandshakes(b *testing.B, address string, hello []byte, peers int) []net.Conn {
	b.Helper()
	conns := make([]net.Conn, peers)
	var all sync.WaitGroup
	for i := range conns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		conns[i] = c
	}
	for _, c := range conns {
		if _, err := c.Write(hello); err != nil {
			b.Fatal(err)
		}
		all.Go(func() {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	return conns
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}
