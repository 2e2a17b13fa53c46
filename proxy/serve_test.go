package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// troubled is a listener that fails to accept some times before it works again.
type troubled struct {
	net.Listener
	failures []error
	tried    []time.Time
}

func (l *troubled) Accept() (net.Conn, error) {
	l.tried = append(l.tried, time.Now())
	if len(l.failures) == 0 {
		return l.Listener.Accept()
	}
	err := l.failures[0]
	l.failures = l.failures[1:]
	return nil, err
}

func TestAcceptBacksOffAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
		inner := memnet.Listen(10)
		ln := &troubled{Listener: inner}
		for range 12 {
			ln.failures = append(ln.failures, full)
		}
		r := &rig{Server: &Server{}, front: inner, back: memnet.Listen(10), journal: &journal{}, served: make(chan error, 1)}
		r.Dial, r.Observer = r.back.Dial, r.journal.observer()
		go func() { r.served <- r.Serve(ln) }()
		client, target := r.connect(t)
		closeAll(client, target)
		_ = r.stop(t, time.Minute)

		var pauses []time.Duration
		for i := 1; i <= 12; i++ {
			pauses = append(pauses, ln.tried[i].Sub(ln.tried[i-1]))
		}
		if pauses[0] != minAcceptPause || pauses[1] != 2*minAcceptPause || pauses[11] != maxAcceptPause {
			t.Errorf("pauses: %v", pauses)
		}
		if events := r.journal.all(); events[0] != "failed accept too_many_files" || events[12] != "accepted" {
			t.Errorf("events: %q", events)
		}
	})
}

func TestServeReturnsTheErrorOfAListenerThatSomebodyElseClosed(t *testing.T) {
	t.Parallel()
	ln := memnet.Listen(1)
	_ = ln.Close()
	if err := (&Server{}).Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v, want net.ErrClosed", err)
	}
}

func TestServeAfterShutdownClosesTheListener(t *testing.T) {
	t.Parallel()
	server := &Server{}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln := memnet.Listen(1)
	if err := server.Serve(ln); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve returned %v, want ErrServerClosed", err)
	}
	if _, err := ln.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the listener is still open: %v", err)
	}
}

// A Server has one listener. One more is closed, so that nobody waits there for an answer.
func TestServeIsCalledOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{CloseTimeout: time.Minute}, nil)
		synctest.Wait()
		another := memnet.Listen(1)
		if err := r.Serve(another); err == nil || errors.Is(err, ErrServerClosed) {
			t.Errorf("a second Serve returned %v", err)
		}
		if _, err := another.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the second listener is still open: %v", err)
		}
		client, target := r.connect(t) // and the first goes on
		mustWrite(t, client, "hello")
		wantRead(t, target, "hello")
		if in, out := r.Bytes(); in != int64(len("hello")) || out != 0 {
			t.Errorf("%d bytes in, %d out, while the connection is open", in, out)
		}
		closeAll(client, target)
		_ = r.stop(t, time.Minute)
	})
}

func TestMaxConnsKeepsTheRestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{MaxConns: 2, CloseTimeout: time.Minute}, nil)
		first, firstTarget := r.connect(t)
		second, secondTarget := r.connect(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := r.front.Dial(ctx); err == nil {
			t.Fatal("a third connection was accepted")
		}
		if open, total := r.Counts(); open != 2 || total != 2 {
			t.Errorf("%d open, %d in total; want 2, 2", open, total)
		}
		closeAll(first, firstTarget)
		third, thirdTarget := r.connect(t)
		closeAll(second, secondTarget, third, thirdTarget)
		_ = r.stop(t, time.Minute)
		if _, total := r.Counts(); total != 3 {
			t.Errorf("%d in total, want 3", total)
		}
	})
}

func TestShutdownWhileTheConnectionLimitIsReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{MaxConns: 1}, nil)
		client, target := r.connect(t)
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			closeAll(client, target)
		}()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownLetsEstablishedConnectionsFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{CloseTimeout: time.Minute}, nil)
		client, target := r.connect(t)
		stopped := make(chan error, 1)
		go func() { stopped <- r.Shutdown(t.Context()) }()
		synctest.Wait()
		if _, err := r.front.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial during the drain: %v, want ECONNREFUSED", err)
		}
		time.Sleep(time.Hour)
		mustWrite(t, client, "still here")
		wantRead(t, target, "still here")
		closeAll(client, target)
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "opened", "closed eof")
	})
}

func TestShutdownCutsWhatOutlivesItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{}, nil)
		client, target := r.connect(t)
		go func() { _, _ = client.Write(make([]byte, 1<<20)) }() // into a target that never reads
		started := time.Now()
		if err := r.stop(t, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v, want the context's error", err)
		}
		if took := time.Since(started); took != time.Minute {
			t.Errorf("Shutdown took %v", took)
		}
		wantReadError(t, client, syscall.ECONNRESET)
		closeAll(client, target)
		wantEvents(t, r, "accepted", "opened", "closed shutdown")
	})
}

func TestShutdownWithoutTimeFailsForEstablishedConnectionsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		empty := start(t, &Server{}, nil)
		if err := empty.stop(t, 0); err != nil {
			t.Errorf("Shutdown of nothing: %v", err)
		}
		handshaking := start(t, &Server{TLS: newPKI(t).serverConfig()}, nil)
		silent, err := handshaking.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := handshaking.stop(t, 0); err != nil {
			t.Errorf("Shutdown of a handshake: %v", err)
		}
		established := start(t, &Server{}, nil)
		client, target := established.connect(t)
		if err := established.stop(t, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown of an established connection: %v, want the context's error", err)
		}
		closeAll(silent, client, target)
	})
}

func TestShutdownCancelsHandshakesAndDialsInProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		handshaking := start(t, &Server{TLS: certs.serverConfig(), HandshakeTimeout: time.Hour}, nil)
		silent, err := handshaking.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dialling := start(t, &Server{DialTimeout: time.Hour, Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, nil)
		waiting, err := dialling.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shaking := start(t, &Server{DialTimeout: time.Hour}, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12})
		client, target := shaking.connect(t)

		synctest.Wait()
		started := time.Now()
		for _, r := range []*rig{handshaking, dialling, shaking} {
			if err := r.stop(t, time.Minute); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}
		if took := time.Since(started); took != 0 {
			t.Errorf("Shutdown waited %v", took)
		}
		closeAll(silent, waiting, client, target)
		wantEvents(t, handshaking, "accepted", "handshake", "failed handshake shutdown", "closed shutdown")
		wantEvents(t, dialling, "accepted", "failed dial shutdown", "closed shutdown")
		wantEvents(t, shaking, "accepted", "handshake", "failed handshake shutdown", "closed shutdown")
	})
}

func TestQuietLeavesOutItsClass(t *testing.T) {
	t.Parallel()
	lines := map[Quiet]string{
		QuietConns:         "pipe",
		QuietConnErrs:      "error on dial",
		QuietHandshakeErrs: "error on TLS handshake",
	}
	for quiet := range lines {
		synctest.Test(t, func(t *testing.T) {
			failing := errors.New("out of order")
			broken := start(t, &Server{Quiet: quiet, Dial: func(context.Context) (net.Conn, error) { return nil, failing }}, nil)
			garbled := start(t, &Server{Quiet: quiet, TLS: newPKI(t).serverConfig()}, nil)
			good := start(t, &Server{Quiet: quiet, CloseTimeout: time.Minute}, nil)

			c, err := broken.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantReadError(t, c, syscall.ECONNRESET)
			g, err := garbled.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, g, "garbage that is no TLS at all")
			wantReadError(t, g, io.EOF)
			client, target := good.connect(t)
			closeAll(c, g, client, target)
			log := ""
			for _, r := range []*rig{broken, garbled, good} {
				_ = r.stop(t, time.Minute)
				log += r.log.String()
			}
			for class, text := range lines {
				if said := strings.Contains(log, text); said == (class == quiet) {
					t.Errorf("quiet %d: %q in the log is %v", quiet, text, said)
				}
			}
		})
	}
}
