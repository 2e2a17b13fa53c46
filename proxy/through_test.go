package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// through is a connection that leads to a target by way of somebody else.
type through struct {
	net.Conn
	socket net.Conn
}

func (t through) NetConn() net.Conn { return t.socket }

// TestSideIsClosedAtItsSocket, however many layers lie over it: none of them may
// have a say in that.
func TestSideIsClosedAtItsSocket(t *testing.T) {
	t.Parallel()
	socket, far := memnet.Pipe(1)
	defer far.Close()
	way := through{Conn: tls.Client(socket, &tls.Config{ServerName: "proxy"}), socket: socket}
	under := newWire(way, new(buffers))
	s := newSide(tls.Client(under, &tls.Config{ServerName: "target"}))
	if s.socket != net.Conn(socket) || s.wire != under {
		t.Errorf("the socket is %T", s.socket)
	}
	s.close()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the socket is still open")
	}
}

// TestGateIsForThoseOnTheWayToo: a handshake with a proxy computes as one with a
// target does.
func TestGateIsForThoseOnTheWayToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		gate := NewGate(1)
		holder := gate.pass(t.Context())
		if err := holder.enter(); err != nil {
			t.Fatal(err)
		}
		near, far := memnet.Pipe(1 << 16)
		defer near.Close()
		served := make(chan error, 1)
		go func() { served <- tls.Server(far, certs.serverConfig()).Handshake() }()

		const limit = standstill / 2
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		started := time.Now()
		if _, err := gate.Client(ctx, near, certs.clientConfig()); !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != limit {
			t.Errorf("%v after %v", err, time.Since(started))
		}
		_ = near.Close()
		if <-served == nil {
			t.Error("the handshake went past the gate")
		}

		holder.leave()
		near, far = memnet.Pipe(1 << 16)
		defer near.Close()
		go func() { served <- tls.Server(far, certs.serverConfig()).Handshake() }()
		if _, err := gate.Client(t.Context(), near, certs.clientConfig()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
