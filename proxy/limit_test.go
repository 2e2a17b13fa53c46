package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

func TestMaxHandshakesKeepsTheRestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), MaxHandshakes: 2, HandshakeTimeout: time.Minute, CloseTimeout: time.Minute}, nil)
		var open []net.Conn
		for range 5 { // established ones do not count
			client, target := r.connectTLS(t, certs)
			open = append(open, client, target)
		}
		for range 2 {
			silent, err := r.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, silent)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		if _, err := r.front.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a third handshake: %v, want it to wait", err)
		}
		mustWrite(t, open[0], "still here")
		wantRead(t, open[1], "still here")
		started := time.Now()
		client, target := r.connectTLS(t, certs) // when those two have timed out
		if waited := time.Since(started); waited != time.Second {
			t.Errorf("it waited %v, want 1s", waited)
		}
		closeAll(append(open, client, target)...)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantNothingHeld(t, r)
	})
}

// Where the client is plain, what counts is the way to the target, with the handshake there.
func TestMaxHandshakesCountsThoseWithTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{MaxHandshakes: 1, DialTimeout: time.Minute, CloseTimeout: time.Minute}, certs.clientConfig())
		first, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		silent := r.accept(t)
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		if _, err := r.front.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a second connection: %v, want it to wait", err)
		}
		wantReadError(t, first, syscall.ECONNRESET)
		second, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		closeAll(first, silent, second)
		_ = r.stop(t, time.Minute)
		wantNothingHeld(t, r)
	})
}

// A target that does not answer keeps nobody from shaking hands.
func TestMaxHandshakesDoesNotCountDials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), MaxHandshakes: 1, Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, nil)
		var open []net.Conn
		for range 3 {
			socket, err := r.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, tls.Client(socket, certs.clientConfig())) }()
			synctest.Wait()
			open = append(open, socket)
		}
		if n, _ := r.Counts(); n != 3 {
			t.Errorf("%d connections in hand, want 3", n)
		}
		_ = r.stop(t, time.Minute)
		closeAll(open...)
		wantNothingHeld(t, r)
	})
}

func TestShutdownWhileTheHandshakeLimitIsReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{TLS: newPKI(t).serverConfig(), MaxConns: 5, MaxHandshakes: 1, HandshakeTimeout: time.Hour}, nil)
		silent, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		started := time.Now()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(started); took != 0 {
			t.Errorf("it took %v", took)
		}
		_ = silent.Close()
		wantNothingHeld(t, r)
	})
}

// origins is a listener whose connections come from one address after the other.
type origins struct {
	*memnet.Listener
	from []net.Addr
}

func (l *origins) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := l.from[0]
	l.from = l.from[1:]
	return comingFrom{c.(*memnet.Conn), from}, nil
}

type comingFrom struct {
	*memnet.Conn
	remote net.Addr
}

func (c comingFrom) RemoteAddr() net.Addr { return c.remote }

// tcpFrom is the address of a TCP peer.
func tcpFrom(ip string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 4711))
}

func TestMaxConnsPerIPClosesWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	const some, mapped, other = "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"
	steps := []struct {
		from  net.Addr
		letIn bool
	}{
		{tcpFrom(some), true},
		{tcpFrom(mapped), true}, // how a socket for both families tells of the same address
		{tcpFrom(some), false},
		{tcpFrom(other), true},
		{tcpFrom(other), true},
		{tcpFrom(other), false},
		{memnet.Addr("@"), true}, // no address, as over UNIX sockets
		{memnet.Addr("@"), true},
		{memnet.Addr("@"), true},
	}
	synctest.Test(t, func(t *testing.T) {
		front := &origins{Listener: memnet.Listen(100)}
		log := &bytes.Buffer{}
		r := &rig{
			Server: &Server{MaxConnsPerIP: 2, MaxConns: 100, MaxHandshakes: 100, CloseTimeout: time.Minute, Log: slog.New(slog.NewTextHandler(log, nil))},
			front:  front.Listener, back: memnet.Listen(100), journal: &journal{}, log: log, served: make(chan error, 1),
		}
		r.Dial, r.Observer = r.back.Dial, r.journal.observer()
		for _, step := range append(steps, steps[0]) {
			front.from = append(front.from, step.from)
		}
		go func() { r.served <- r.Serve(front) }()

		var open []net.Conn
		for _, step := range steps {
			before := len(r.journal.all())
			if step.letIn {
				client, target := r.connect(t)
				open = append(open, client, target)
				continue
			}
			client, err := r.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantReadError(t, client, syscall.ECONNRESET)
			synctest.Wait()
			if got, want := r.journal.all()[before:], []string{"accepted", "failed limit too_many_from_source", "closed too_many_from_source"}; !slices.Equal(got, want) {
				t.Errorf("from %v: events %q, want %q", step.from, got, want)
			}
			_ = client.Close()
		}
		closeAll(open[:2]...) // which makes room for one more
		synctest.Wait()
		client, target := r.connect(t)
		closeAll(append(open[2:], client, target)...)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantNothingHeld(t, r)
		const line = `level=WARN msg="error on accept" conn=3 remote=192.0.2.1:4711 stage=limit reason=too_many_from_source error="192.0.2.1 has 2 connections, which is as many as one address may have"`
		if !strings.Contains(log.String(), line) {
			t.Errorf("no %s in the log:\n%s", line, log)
		}
	})
}
