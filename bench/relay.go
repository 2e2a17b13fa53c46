package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// runRelay accepts connections until the context ends, and hands each to relay in a goroutine of its own.
func runRelay(ctx context.Context, o playOrder, relay func(client *net.TCPConn, target string)) error {
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				err = nil // it was closed above
			}
			return err
		}
		go relay(conn.(*net.TCPConn), o.Target)
	}
}

// copyLoop is what one writes first in Go: crypto/tls as it comes, and for each direction io.CopyBuffer with a buffer of
// 32 KiB from a pool. Ghostunnel's data path is, by its documentation, of this kind.
func copyLoop(client bool, certs *certificates) func(*net.TCPConn, string) {
	const size = 32 << 10
	buffers := &sync.Pool{New: func() any { return new([size]byte) }}
	accepts, dials := certs.serverConfig(), certs.clientConfig()
	return func(socket *net.TCPConn, target string) {
		defer func() { _ = socket.Close() }()
		_ = socket.SetDeadline(time.Now().Add(patience))
		var near stream = socket
		if !client {
			session := tls.Server(socket, accepts)
			if session.Handshake() != nil {
				return
			}
			near = session
		}
		conn, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		var far stream = conn.(*net.TCPConn)
		if client {
			session := tls.Client(conn, dials)
			if session.Handshake() != nil {
				return
			}
			far = session
		}
		_ = socket.SetDeadline(time.Time{})
		both(near, far, func(to, from stream) error {
			buf := buffers.Get().(*[size]byte)
			defer buffers.Put(buf)
			_, err := io.CopyBuffer(to, from, buf[:])
			return err
		})
	}
}

// relayPlain copies without TLS, and by system calls of its own: io.Copy would leave the bytes in the kernel, which no TLS
// proxy can.
func relayPlain(near *net.TCPConn, target string) {
	defer func() { _ = near.Close() }()
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	both(near, far.(*net.TCPConn), func(to, from stream) error {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return err
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
	})
}

// both copies in both directions. The end of one is passed on; the connections are over with the second, or with an error.
func both(near, far stream, pass func(to, from stream) error) {
	oneWay := func(to, from stream) {
		if err := pass(to, from); err != nil && err != io.EOF {
			_, _ = near.Close(), far.Close()
			return
		}
		_ = to.CloseWrite()
	}
	done := make(chan struct{})
	go func() {
		oneWay(near, far)
		close(done)
	}()
	oneWay(far, near)
	<-done
}
