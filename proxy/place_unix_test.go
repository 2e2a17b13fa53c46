//go:build unix

package proxy

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"sallyport/internal/memnet"
)

// A place lets those go first whom the network has something for, though there always is somebody else who can run.
func TestPlaceYieldsToThoseWhomTheNetworkHasSomethingFor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	near, far := tcpPair(t)
	read := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		read <- err
	}()
	place := newPlace()
	defer place.close()
	place.yield() // the reader waits for the network now
	mustWrite(t, far, "x")
	for turn := range 100 {
		place.yield()
		select {
		case err := <-read:
			if err != nil || turn > 1 {
				t.Errorf("the reader had its turn after %d others: %v", turn, err)
			}
			return
		default:
		}
	}
	t.Error("the reader did not have its turn")
}

// rush is a listener to which somebody connects whenever it is asked, until enough of them have.
type rush struct {
	net.Listener // nil; its other methods are not called

	first    func() // is called when the first is accepted
	accepted atomic.Int64
	enough   atomic.Bool
}

func (l *rush) Accept() (net.Conn, error) {
	n := l.accepted.Add(1)
	if l.enough.Load() || n > 1<<20 {
		return nil, net.ErrClosed
	}
	if n == 1 {
		l.first()
	}
	client, server := memnet.Pipe(1)
	return server, client.Close()
}

func (*rush) Close() error { return nil }

// However many connect at once, after a few of them those have their turn whom the network has something for.
func TestAcceptingYieldsToThoseWhomTheNetworkHasSomethingFor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	near, far := tcpPair(t)
	ln := &rush{first: func() { mustWrite(t, far, "x") }}
	turn := make(chan int64, 1)
	go func() {
		if _, err := near.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		turn <- ln.accepted.Load()
		ln.enough.Store(true)
	}()
	server := &Server{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no") }}
	if err := server.Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if n := <-turn; n > 2*acceptRow {
		t.Errorf("the reader had its turn after %d others", n)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
