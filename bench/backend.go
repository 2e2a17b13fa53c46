package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A stream is a connection that can be ended one half at a time: *net.TCPConn, *tls.Conn.
type stream interface {
	net.Conn
	CloseWrite() error
}

// What a client asks of the target with the first byte of a connection; which transfer it is about follows in eight more.
const (
	askEcho = 'e' // to send everything back
	askSink = 's' // to take noise, and say in eight bytes how much there was
	askFlow = 'f' // to send noise
)

// orderSize is how long what a client asks is.
const orderSize = 9

// order is what a client sends first.
func order(what byte, transfer uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{what}, transfer)
}

// A transfer is one stream of noise, which both of its ends count here.
type transfer struct {
	id             uint64
	stop           chan struct{} // closed when enough has been sent
	sent, received atomic.Int64
	over           chan struct{} // closed when the target is through with it
}

// A backend is the target of a contestant. It knows what the clients do, being in the same process.
type backend struct {
	listener net.Listener
	tls      *tls.Config // nil: plain
	handling sync.WaitGroup
	resumed  atomic.Int64 // TLS connections that were, of all

	mu        sync.Mutex
	transfers map[uint64]*transfer
}

// newBackend starts one. It ends with the context; close waits for that.
func newBackend(ctx context.Context, config *tls.Config) (*backend, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, err
	}
	b := &backend{listener: listener, tls: config, transfers: map[uint64]*transfer{}}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	b.handling.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			b.handling.Go(func() { b.serve(ctx, conn.(*net.TCPConn)) })
		}
	})
	return b, nil
}

// wait waits for the end of all that the context's end ends.
func (b *backend) wait() { b.handling.Wait() }

// newTransfer makes a transfer that clients can ask for.
func (b *backend) newTransfer() *transfer {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &transfer{id: uint64(len(b.transfers)), stop: make(chan struct{}), over: make(chan struct{})}
	b.transfers[t.id] = t
	return t
}

// serve does what a client asks. What fails is seen by the client.
func (b *backend) serve(ctx context.Context, socket *net.TCPConn) {
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	defer func() { _ = socket.Close() }()
	var conn stream = socket
	if b.tls != nil {
		session := tls.Server(socket, b.tls)
		if session.Handshake() != nil || session.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			return
		}
		if session.ConnectionState().DidResume {
			b.resumed.Add(1)
		}
		conn = session
	}
	asked := make([]byte, orderSize)
	if _, err := io.ReadFull(conn, asked); err != nil {
		return
	}
	if asked[0] == askEcho {
		sendBack(conn)
		return
	}
	b.mu.Lock()
	t := b.transfers[binary.BigEndian.Uint64(asked[1:])]
	b.mu.Unlock()
	if t == nil {
		return
	}
	defer close(t.over)
	switch asked[0] {
	case askSink:
		if receive(conn, &t.received) == nil {
			_, _ = conn.Write(binary.BigEndian.AppendUint64(nil, uint64(t.received.Load())))
			_ = conn.CloseWrite()
		}
	case askFlow:
		if send(conn, t.stop, &t.sent) == nil && conn.CloseWrite() == nil {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			_, _ = io.Copy(io.Discard, conn) // until the client is through, too
		}
	}
}

// sendBack sends everything back.
func sendBack(conn stream) {
	buf := make([]byte, 16<<10)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if _, err := conn.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
