//go:build unix

package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// forwarding is a handler that connects each client with a target, until both have ended.
func forwarding(t *testing.T, reach func(context.Context) (net.Conn, error)) func(context.Context, *Client) {
	return func(ctx context.Context, client *Client) {
		target, err := reach(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		defer closeAllOf(target)
		up := make(chan struct{})
		go func() {
			defer close(up)
			_, _ = io.Copy(target, client)
			closeWrite(target)
		}()
		_, _ = io.Copy(client, target)
		_ = client.CloseWrite()
		<-up
	}
}

// Streams between clients and targets, over real sockets, forward what comes, pass ends on, and keep no buffer while nothing
// comes. It counts what the heap has, and so runs by itself.
func TestHandledStreamsThatWaitHaveNoBuffers(t *testing.T) {
	const streams = 50
	for _, test := range []struct {
		name                         string
		secureClients, secureTargets bool
	}{
		{"in the clear", false, false},
		{"TLS with clients", true, false},
		{"TLS with targets", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			certs := newPKI(t)
			front, back := listenHere(t), listenHere(t)
			server := &Server{}
			dial := dialerTo(back)
			if test.secureTargets {
				dial = TLSDialer(dial, certs.clientConfig(), nil)
			}
			if test.secureClients {
				server.TLS = certs.serverConfig()
			}
			server.Handle = forwarding(t, server.StreamReacher(dial))
			served := make(chan error, 1)
			go func() { served <- server.Serve(front) }()

			var clients, targets []net.Conn
			connect := func() {
				socket, err := net.Dial("tcp", front.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				client := socket
				if test.secureClients {
					client = tls.Client(newWire(socket, new(buffers)), certs.clientConfig())
				}
				mustWrite(t, client, "hello")
				target, err := back.Accept()
				if err != nil {
					t.Fatal(err)
				}
				if test.secureTargets {
					target = tls.Server(newWire(target, new(buffers)), certs.serverConfig())
				}
				wantRead(t, target, "hello")
				mustWrite(t, target, "hello yourself")
				wantRead(t, client, "hello yourself")
				clients, targets = append(clients, client), append(targets, target)
			}
			connect()
			before := heap()
			for range streams {
				connect()
			}
			// Two buffers of 32 KiB each are what io.Copy takes. What is left are the sockets and sessions, those of this test too.
			if each := (heap() - before) / streams; each > 40<<10 {
				t.Errorf("a stream that waits keeps %d bytes", each)
			}
			for i := range clients {
				closeWrite(clients[i])
				if rest, err := io.ReadAll(targets[i]); err != nil || len(rest) > 0 {
					t.Errorf("the target got %q, %v", rest, err)
				}
				closeWrite(targets[i])
				if rest, err := io.ReadAll(clients[i]); err != nil || len(rest) > 0 {
					t.Errorf("the client got %q, %v", rest, err)
				}
			}
			closeAll(clients...)
			closeAll(targets...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := server.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, ErrServerClosed) {
				t.Error(err)
			}
			if in, out := server.Bytes(); in != (streams+1)*int64(len("hello")) || out != (streams+1)*int64(len("hello yourself")) {
				t.Errorf("%d bytes in, %d out", in, out)
			}
			if left := len(server.reached); left > 0 {
				t.Errorf("%d targets are kept", left)
			}
		})
	}
}

// heap is how many bytes are in use.
func heap() int64 {
	for range 3 { // what a pool has goes with the second collection
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
