package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// limit is how long what has to happen in these tests may take.
const limit = 20 * time.Second

// echoed dials what says again what it hears.
func echoed(context.Context) (net.Conn, error) {
	near, far := memnet.Pipe(4 << 10)
	go func() {
		_, _ = io.Copy(far, far)
		_ = far.Close()
	}()
	return near, nil
}

// listenHere listens on a port of loopback until the test ends.
func listenHere(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// call connects, and wants to hear what it says.
func call(ln net.Listener) error {
	c, err := net.DialTimeout("tcp", ln.Addr().String(), limit)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return greet(c)
}

func greet(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && got != "hello\n" {
		err = fmt.Errorf("heard %q", got)
	}
	return err
}

func TestAListenerIsHandedOverWithoutAnybodyLost(t *testing.T) {
	t.Parallel()
	ln, ids := listenHere(t), new(atomic.Uint64)
	var calls, serving sync.WaitGroup
	var failed atomic.Pointer[error]
	done := make(chan struct{})
	for range 8 {
		calls.Go(func() {
			for {
				if err := call(ln); err != nil {
					failed.Store(&err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	serve := func() *Server {
		s := &Server{Dial: echoed, LastID: ids, CloseTimeout: time.Minute}
		serving.Go(func() {
			if err := s.Serve(ln); !errors.Is(err, ErrServerClosed) {
				t.Errorf("Serve returned %v", err)
			}
		})
		return s
	}
	var total int64
	s := serve()
	for range 25 {
		before := s
		if err := before.HandOver(); err != nil {
			t.Fatal(err)
		}
		if !before.Draining() {
			t.Error("it does not drain")
		}
		s = serve()
		if err := before.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		_, accepted := before.Counts()
		total += accepted
	}
	close(done)
	calls.Wait()
	if err := s.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	serving.Wait()
	_, accepted := s.Counts()
	if total += accepted; ids.Load() != uint64(total) {
		t.Errorf("%d connections have %d numbers", total, ids.Load())
	}
	if err := failed.Load(); err != nil {
		t.Error(*err)
	}
	if err := call(ln); err == nil {
		t.Error("after Drain, somebody answers")
	}
}

func TestADrainLetsAHandshakeComeToItsEnd(t *testing.T) {
	t.Parallel()
	certs, ln := newPKI(t), listenHere(t)
	s := &Server{TLS: certs.serverConfig(), Dial: echoed, CloseTimeout: time.Minute}
	served, drained := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	socket, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	go func() { drained <- s.Drain(context.Background()) }()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	client := tls.Client(socket, certs.clientConfig()) // only now
	if err := greet(client); err != nil {
		t.Error(err)
	}
	select {
	case err := <-drained:
		t.Errorf("it has drained with a connection: %v", err)
	default:
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestADrainThatTakesTooLongCutsWhatIsLeft(t *testing.T) {
	t.Parallel()
	ln := listenHere(t)
	s := &Server{Dial: echoed, CloseTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := greet(client); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there")
	}
	_ = client.Close()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestWhatIsNotServedYetCanBeHandedOver(t *testing.T) {
	t.Parallel()
	ln, s := listenHere(t), &Server{Dial: echoed}
	if err := s.HandOver(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	if err := s.HandOver(); !errors.Is(err, errNoHandOver) {
		t.Errorf("a second time: %v", err)
	}
	next := &Server{Dial: echoed, CloseTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- next.Serve(ln) }()
	if err := call(ln); err != nil {
		t.Error(err)
	}
	if err := next.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	if err := next.HandOver(); !errors.Is(err, errNoHandOver) {
		t.Errorf("after Shutdown: %v", err)
	}
}

// deaf is a listener that cannot be interrupted.
type deaf struct{ net.Listener }

func TestAListenerThatCannotBeInterruptedIsNotHandedOver(t *testing.T) {
	t.Parallel()
	ln, s := listenHere(t), &Server{Dial: echoed, CloseTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- s.Serve(deaf{ln}) }()
	if err := call(ln); err != nil { // it serves by then
		t.Fatal(err)
	}
	if err := s.HandOver(); !errors.Is(err, errNoHandOver) {
		t.Errorf("HandOver: %v", err)
	}
	if err := call(ln); err != nil {
		t.Error(err)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

// TestLeavingWaitsForNobodyWithLimits has places free for whoever comes, of which Serve must take none any more.
func TestLeavingWaitsForNobodyWithLimits(t *testing.T) {
	t.Parallel()
	for range 25 {
		for _, leave := range []func(*Server) error{(*Server).HandOver, func(s *Server) error { return s.Drain(t.Context()) }} {
			s := &Server{Dial: echoed, MaxConns: 10, MaxHandshakes: 10}
			ln := listenHere(t)
			serving := make(chan error, 1)
			go func() { serving <- s.Serve(ln) }()
			if err := call(ln); err != nil { // then it waits for the next one
				t.Fatal(err)
			}
			left := make(chan error, 1)
			go func() { left <- leave(s) }()
			select {
			case err := <-left:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(limit):
				t.Fatal("the accept loop does not end")
			}
			if err := <-serving; !errors.Is(err, ErrServerClosed) {
				t.Errorf("Serve returned %v", err)
			}
			_ = s.Shutdown(t.Context())
		}
	}
}

// queue is a listener whose queue is full by the time that Accept is interrupted.
type queue struct {
	net.Listener // nil; its other methods are not called

	waiting chan net.Conn
	wake    chan struct{} // closed once there was a deadline
	once    sync.Once
	until   atomic.Pointer[time.Time] // the deadline
	closed  atomic.Bool
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case <-q.wake:
	default:
		<-q.wake
		return nil, os.ErrDeadlineExceeded
	}
	select {
	case c := <-q.waiting:
		return c, nil
	case <-time.After(time.Until(*q.until.Load())):
		return nil, os.ErrDeadlineExceeded
	}
}

func (q *queue) SetDeadline(t time.Time) error {
	q.until.Store(&t)
	q.once.Do(func() { close(q.wake) })
	return nil
}

func (q *queue) Close() error {
	q.closed.Store(true)
	return nil
}

func TestADrainAcceptsWhoIsInTheQueue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		server   *Server
		accepted int // of five; Drain does not wait for places
	}{
		{"without limits", &Server{}, 5},
		{"with a limit", &Server{MaxConns: 3}, 3},
		{"with a limit of those that have not settled", &Server{MaxHandshakes: 2}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := &queue{waiting: make(chan net.Conn, 5), wake: make(chan struct{})}
				var clients []net.Conn
				for range cap(q.waiting) {
					client, server := memnet.Pipe(1 << 10)
					clients = append(clients, client)
					q.waiting <- server
				}
				proceed := make(chan struct{})
				s := test.server
				s.Dial = func(ctx context.Context) (net.Conn, error) {
					<-proceed
					return echoed(ctx)
				}
				served, drained := make(chan error, 1), make(chan error, 1)
				go func() { served <- s.Serve(q) }()
				synctest.Wait()
				go func() { drained <- s.Drain(context.Background()) }()
				if err := <-served; !errors.Is(err, ErrServerClosed) || !q.closed.Load() {
					t.Errorf("Serve returned %v, and has closed the listener: %v", err, q.closed.Load())
				}
				close(proceed)
				for _, client := range clients[:test.accepted] {
					if err := greet(client); err != nil {
						t.Error(err)
					}
				}
				closeAll(clients...)
				if err := <-drained; err != nil {
					t.Error(err)
				}
				if _, total := s.Counts(); int(total) != test.accepted || len(q.waiting) != len(clients)-test.accepted {
					t.Errorf("%d were accepted, %d left; want %d", total, len(q.waiting), test.accepted)
				}
				time.Sleep(time.Minute) // for those that echo to go
			})
		})
	}
}
