package status

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// troubled is a listener that fails to accept some times before it works.
type troubled struct {
	net.Listener
	failures int
}

func (l *troubled) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.ENOBUFS}
	}
	return l.Listener.Accept()
}

func TestServeOutlivesFailuresToAccept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := memnet.Listen(4096)
		s := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		served := make(chan error, 1)
		go func() { served <- s.Serve(&troubled{inner, 12}) }()
		began := time.Now()
		c, err := inner.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// 5, 10, 20 … 640 ms, and then a second each.
		if waited := time.Since(began); waited != 1275*time.Millisecond+4*time.Second {
			t.Errorf("accepted after %v", waited)
		}
		_ = c.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServeReturnsWhenSomebodyElseClosesTheListener(t *testing.T) {
	t.Parallel()
	inner := memnet.Listen(4096)
	_ = inner.Close()
	s := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err := s.Serve(inner); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v, want net.ErrClosed", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
