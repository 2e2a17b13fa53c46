package status

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// start serves h on ln and returns the Server with what Serve will return.
func start(h http.Handler, ln net.Listener) (*Server, <-chan error) {
	s := NewServer(h, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	return s, served
}

// listenTCP returns a listener on a port of its own.
func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// send opens a connection and writes text to it.
func send(t *testing.T, ln *memnet.Listener, text string) net.Conn {
	t.Helper()
	conn, err := ln.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dribble writes one byte a second until the other side is gone.
func dribble(conn net.Conn, b byte) {
	for {
		time.Sleep(time.Second)
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
	}
}

func TestServerCutsRequestsThatNeverEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, sent string
		more       byte // dribbled afterwards, unless it is 0
		answer     string
		after      time.Duration
	}{
		{"silence", "", 0, "", headerLimit},
		{"half a request line", "GET /li", 0, "", headerLimit},
		{"dribbled header", "GET /livez HTTP/1.1\r\nHost: x\r\nX: ", 'x', "", headerLimit},
		{"a body that never comes", "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 0, "HTTP/1.1 200", readLimit},
		{"dribbled body", "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 'x', "HTTP/1.1 200", readLimit},
		{"chunks without end", "GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 0, "HTTP/1.1 200", readLimit},
		{"a symbol lookup without end", "POST /debug/pprof/symbol HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", '0', "", readLimit},
		{"silence after an answer", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 0, "HTTP/1.1 200", idleLimit},
		{"header beyond the limit", "GET /livez HTTP/1.1\r\nX: " + strings.Repeat("x", 2*maxHeaderBytes), 0, "HTTP/1.1 431", 0},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 0, "HTTP/1.1 400", 0},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 0, "HTTP/1.1 400", 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ln := memnet.Listen(64 << 10)
				s, served := start(New(Options{State: NewState(), EnablePprof: true}), ln)
				begin := time.Now()
				conn := send(t, ln, c.sent)
				var more sync.WaitGroup
				if c.more != 0 {
					more.Go(func() { dribble(conn, c.more) })
				}
				answer, _ := io.ReadAll(conn) // a reset is as good an end as any
				if !strings.HasPrefix(string(answer), c.answer) {
					t.Errorf("answer %.60q, want %q", answer, c.answer)
				}
				if took := time.Since(begin); took.Truncate(time.Second) != c.after {
					t.Errorf("cut after %v, want %v", took, c.after)
				}
				_ = conn.Close()
				more.Wait()
				if err := s.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				if err := <-served; err != nil {
					t.Errorf("Serve: %v", err)
				}
			})
		})
	}
}

func TestServerCutsClientsThatDoNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen(4096)
		begin := time.Now()
		var gaveUp time.Duration
		s, _ := start(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					gaveUp = time.Since(begin)
					return
				}
			}
		}), ln)
		conn := send(t, ln, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		defer conn.Close()
		synctest.Wait()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if gaveUp != writeLimit {
			t.Errorf("cut after %v, want %v", gaveUp, writeLimit)
		}
	})
}

func TestServerBoundsBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen(4096)
		s, _ := start(New(Options{State: NewState(), EnablePprof: true}), ln)
		conn := send(t, ln, fmt.Sprintf("POST /debug/pprof/symbol HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 2*maxBodyBytes))
		var body sync.WaitGroup
		body.Go(func() {
			// The server may hang up before it has all of this.
			_, _ = conn.Write(bytes.Repeat([]byte("0+"), maxBodyBytes))
		})
		answer, _ := io.ReadAll(conn)
		if !bytes.Contains(answer, []byte("request body too large")) {
			t.Errorf("answer %.200q, want that the body is too large", answer)
		}
		_ = conn.Close()
		body.Wait()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestServerAnswersBeforeABodyIsComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen(4096)
		begun := make(chan struct{})
		s, _ := start(New(Options{State: NewState(), Shutdown: func() { close(begun) }}), ln)
		begin := time.Now()
		conn := send(t, ln, "POST /_shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		if took := time.Since(begin); took != 0 || response.StatusCode != 200 {
			t.Errorf("%d after %v, want 200 at once", response.StatusCode, took)
		}
		_ = response.Body.Close()
		_ = conn.Close()
		_ = s.Shutdown(t.Context())
	})
}

func TestShutdownWaitsNoLongerThanItMust(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, sent string
		dribble    bool
		ctx        time.Duration // 0: without end
		within     time.Duration
		err        error
	}{
		{"nobody there", "", false, 0, 0, nil},
		{"dribbled header, patient", "GET /livez HTTP/1.1\r\nX: ", true, 0, headerLimit + time.Second, nil},
		{"dribbled header, impatient", "GET /livez HTTP/1.1\r\nX: ", true, time.Second, time.Second, context.DeadlineExceeded},
		{"endless body, patient", "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", true, 0, readLimit + time.Second, nil},
		{"endless body, impatient", "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", true, time.Second, time.Second, context.DeadlineExceeded},
		{"an idle connection", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", false, 0, 0, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ln := memnet.Listen(64 << 10)
				s, served := start(New(Options{State: NewState()}), ln)
				var more sync.WaitGroup
				if c.sent != "" {
					conn := send(t, ln, c.sent)
					defer more.Wait()
					defer conn.Close()
					if c.dribble {
						more.Go(func() { dribble(conn, 'x') })
					}
				}
				synctest.Wait()

				ctx := t.Context()
				if c.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.ctx)
					defer cancel()
				}
				begin := time.Now()
				if err := s.Shutdown(ctx); !errors.Is(err, c.err) {
					t.Errorf("%v, want %v", err, c.err)
				}
				if took := time.Since(begin); took > c.within {
					t.Errorf("took %v, want at most %v", took, c.within)
				}
				if err := <-served; err != nil {
					t.Errorf("Serve: %v", err)
				}
			})
		})
	}
}

func TestShutdownCancelsWhatRequestsWaitFor(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/_status", "/healthz", "/debug/pprof/goroutine?seconds=3600"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				run, _ := slow(time.Hour, nil)
				check := NewCheck(run, 2*time.Hour)
				defer check.Close()
				state := NewState()
				state.Listening()
				ln := memnet.Listen(64 << 10)
				s, _ := start(New(Options{State: state, EnablePprof: true, Tunnels: these(Tunnel{Check: check})}), ln)
				conn := send(t, ln, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
				synctest.Wait()

				begin := time.Now()
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took > time.Second {
					t.Errorf("took %v", took)
				}
				answer, _ := io.ReadAll(conn)
				if !bytes.HasPrefix(answer, []byte("HTTP/1.1 50")) {
					t.Errorf("answer %.80q, want a server error", answer)
				}
			})
		})
	}
}

func TestACheckMayTakeLongerThanOtherAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, _ := slow(3*writeLimit, nil)
		check := NewCheck(run, 4*writeLimit)
		defer check.Close()
		state := NewState()
		state.Listening()
		ln := memnet.Listen(64 << 10)
		s, _ := start(New(Options{State: state, Tunnels: these(Tunnel{Check: check})}), ln)
		conn := send(t, ln, "GET /_status HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != 200 {
			t.Errorf("%d, want 200", response.StatusCode)
		}
		_ = response.Body.Close()
		_ = s.Shutdown(t.Context())
	})
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	t.Parallel()
	ln := listenTCP(t)
	_ = ln.Close()
	s, served := start(http.NotFoundHandler(), ln)
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want that the listener is closed", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServeAfterShutdownClosesItsListener(t *testing.T) {
	t.Parallel()
	s := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln := listenTCP(t)
	if err := s.Serve(ln); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want that the listener is closed", err)
	}
}

func TestServerOverRealSockets(t *testing.T) {
	t.Parallel()
	ln := listenTCP(t)
	s, served := start(New(Options{State: NewState()}), ln)
	for range 50 {
		stuck, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer stuck.Close()
		if _, err := io.WriteString(stuck, "GET /livez HTTP/1.1\r\nX: "); err != nil {
			t.Fatal(err)
		}
	}
	if response, body := ask(t, "GET", "http://"+ln.Addr().String()+"/livez"); response.StatusCode != 200 || body != "ok\n" {
		t.Errorf("%d %q beside stuck requests, want 200", response.StatusCode, body)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v, want the deadline's error", err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Shutdown took %v", took)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestAHandshakeThatFailsIsNothingToWarnOf, as any probe of the port is one; a request that makes the program panic is.
func TestAHandshakeThatFailsIsNothingToWarnOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no such luck") })
		s := NewServer(handler, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		plain, secure := memnet.Listen(4096), memnet.Listen(4096)
		go func() { _ = s.Serve(plain) }()
		go func() { _ = s.Serve(tls.NewListener(secure, &tls.Config{MinVersion: tls.VersionTLS12})) }()
		for _, ln := range []*memnet.Listener{secure, plain} {
			_, _ = io.ReadAll(send(t, ln, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, want := range []string{
			`level=DEBUG msg="status port: HTTP server" message="http: TLS handshake error`,
			`level=WARN msg="status port: HTTP server" message="http: panic serving`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %s in\n%s", want, &log)
			}
		}
	})
}
