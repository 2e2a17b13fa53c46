package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// wakeableListener is one in memory whose Accept obeys a deadline.
type wakeableListener struct {
	conns  chan net.Conn // to be accepted
	closed chan struct{}
	fails  error         // what Accept returns, if it is not nil
	stuck  chan struct{} // if it is not nil, Accept does not return before it is closed

	mu     sync.Mutex
	wake   chan struct{} // closed while the deadline has passed
	passed bool
}

func newWakeableListener() *wakeableListener {
	return &wakeableListener{conns: make(chan net.Conn, 8), closed: make(chan struct{}), wake: make(chan struct{})}
}

func (l *wakeableListener) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch passes := !t.IsZero(); {
	case passes && !l.passed:
		close(l.wake)
	case !passes && l.passed:
		l.wake = make(chan struct{})
	}
	l.passed = !t.IsZero()
	return nil
}

func (l *wakeableListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	wake := l.wake
	l.mu.Unlock()
	if l.stuck != nil {
		<-l.stuck
	}
	if l.fails != nil {
		return nil, l.fails
	}
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case <-wake:
		return nil, os.ErrDeadlineExceeded
	case c := <-l.conns:
		return c, nil
	}
}

func (l *wakeableListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *wakeableListener) Addr() net.Addr { return memnet.Addr("listener") }

// ping is Ping with a limit; in a bubble, it takes no time if it is answered.
func ping(s *Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Ping(ctx)
}

func TestPingIsAnsweredWhereverTheServerRightlyWaits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		conns      int // MaxConns
		handshakes int // MaxHandshakes
		dials      int // connections that are made before the ping
		fails      error
	}{
		{name: "for a connection"},
		{name: "for a connection, with others open", dials: 3},
		{name: "for a place among connections", conns: 1, dials: 2},
		{name: "for a place among handshakes", handshakes: 1, dials: 2},
		{name: "after a failure to accept", fails: syscall.EMFILE},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ln, s := newWakeableListener(), &Server{MaxConns: test.conns, MaxHandshakes: test.handshakes}
				ln.fails = test.fails
				// Nobody answers, so that what was accepted stays on its way.
				s.Dial = func(ctx context.Context) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				for range test.dials {
					_, accepted := memnet.Pipe(4 << 10)
					ln.conns <- accepted
				}
				served := make(chan error)
				go func() { served <- s.Serve(ln) }()
				synctest.Wait()
				began := time.Now()
				for range 3 {
					if err := ping(s); err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("answered after %v", took)
				}
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if err := <-served; !errors.Is(err, ErrServerClosed) {
					t.Error(err)
				}
				if err := ping(s); err != nil {
					t.Errorf("a server that is closed: %v", err)
				}
			})
		})
	}
}

func TestPingFindsAServerThatIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := newWakeableListener()
		ln.stuck = make(chan struct{})
		s, served := &Server{}, make(chan error)
		go func() { served <- s.Serve(ln) }()
		synctest.Wait()
		for range 3 {
			if err := ping(s); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("stuck: %v, want the end of the context", err)
			}
		}
		close(ln.stuck)
		synctest.Wait()
		if err := ping(s); err != nil {
			t.Errorf("no longer stuck: %v", err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
	})
}

func TestPingHasNothingToSayOfWhatCannotBeInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if err := ping(&Server{}); err != nil {
			t.Errorf("before Serve: %v", err)
		}
		r := start(t, &Server{}, nil)
		synctest.Wait()
		if err := ping(r.Server); err != nil {
			t.Errorf("a listener without SetDeadline: %v", err)
		}
		_ = r.stop(t, time.Second)
	})
}

// TestPingsCostNoConnection has clients come and go while the server is pinged without a pause.
func TestPingsCostNoConnection(t *testing.T) {
	t.Parallel()
	const clients, each = 8, 50
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/in"
			}
			ln, err := new(net.ListenConfig).Listen(t.Context(), network, address)
			if err != nil {
				t.Fatal(err)
			}
			j := &journal{}
			s := &Server{MaxConns: 4, Observer: j.observer(), Dial: func(context.Context) (net.Conn, error) {
				near, far := memnet.Pipe(4 << 10)
				go func() {
					_, _ = io.Copy(far, far)
					_ = far.CloseWrite()
				}()
				return near, nil
			}}
			var serving, dialling, pinging sync.WaitGroup
			serving.Go(func() { _ = s.Serve(ln) })
			over := make(chan struct{})
			pings := 0
			pinging.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					if err := s.Ping(ctx); err != nil {
						t.Error(err)
					}
					cancel()
					pings++
				}
			})
			for range clients {
				dialling.Go(func() {
					for range each {
						if err := echoOnce(t.Context(), network, ln.Addr().String()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			dialling.Wait()
			close(over)
			pinging.Wait()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			serving.Wait()
			if _, total := s.Counts(); total != clients*each || pings < each {
				t.Errorf("%d connections and %d pings; want %d, and many", total, pings, clients*each)
			}
			for _, event := range j.all() {
				if event == "failed accept other" || event == "failed accept timeout" {
					t.Fatalf("a ping passes for a failure to accept: %s", event)
				}
			}
		})
	}
}

// echoOnce sends some bytes and wants them back.
func echoOnce(ctx context.Context, network, address string) error {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 4))
	return err
}
