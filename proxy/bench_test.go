package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
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
