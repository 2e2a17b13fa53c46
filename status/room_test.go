package status

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/devpki"
	"sallyport/internal/memnet"
)

const (
	asking  = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	waiting = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
)

// crowded serves on ln, and logs to the buffer. Who asks for /wait waits for the channel.
func crowded(t *testing.T, ln net.Listener) (log *bytes.Buffer, release chan struct{}) {
	t.Helper()
	log, release = new(bytes.Buffer), make(chan struct{})
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	}), slog.New(slog.NewTextHandler(log, nil)))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Shutdown(t.Context()) // with whoever is still there
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return log, release
}

// answered tells whether the connection is answered with ok; if not, it was closed.
func answered(conn net.Conn) bool {
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(response.Body)
	return err == nil && string(body) == "ok"
}

// stillOpen tells whether the other side of a connection that is silent has not closed it.
func stillOpen(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	failed, ok := err.(net.Error) //nolint:errorlint // as it comes from the connection
	return ok && failed.Timeout()
}

func TestWhoAsksIsAnsweredAmongManyWhoDoNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen(4096)
		log, _ := crowded(t, ln)
		idle := send(t, ln, asking)
		if !answered(idle) {
			t.Fatal("the first was not answered")
		}
		synctest.Wait() // until the port waits for its next request
		var silent []net.Conn
		for range maxConns - 1 {
			silent = append(silent, send(t, ln, "GET /liv"))
		}
		synctest.Wait()
		if log.Len() > 0 || !stillOpen(idle) {
			t.Errorf("there is room for %d: %s", maxConns, log)
		}
		for i := range 3 {
			if !answered(send(t, ln, asking)) {
				t.Errorf("%d more than there is room for: not answered", i)
			}
		}
		synctest.Wait()
		if stillOpen(idle) || stillOpen(silent[0]) || stillOpen(silent[1]) {
			t.Error("those that have waited longest are still there")
		}
		for i, conn := range silent[2:] {
			if !stillOpen(conn) {
				t.Errorf("%d had to go", i)
			}
		}
		if lines := strings.Count(log.String(), "too many connections"); lines != 1 {
			t.Errorf("the log has %d lines about it:\n%s", lines, log)
		}
	})
}

func TestWhoAsksIsAnsweredAmongManyWhoseRequestsTakeLong(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"the answer takes long":  waiting,
		"the body does not come": "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n",
		"no chunk of it comes":   "POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ln := memnet.Listen(4096)
				_, release := crowded(t, ln)
				var busy []net.Conn
				for range maxConns {
					busy = append(busy, send(t, ln, request))
					synctest.Wait() // so that this one is the latest
				}
				const newcomers = 3
				for i := range newcomers {
					if !answered(send(t, ln, asking)) {
						t.Errorf("%d more than there is room for: not answered", i)
					}
					synctest.Wait() // until it waits for its next request, and so makes room for the next one
				}
				if stillOpen(busy[0]) {
					t.Error("whose request has taken longest is still there")
				}
				for i, conn := range busy[1:] {
					if !stillOpen(conn) {
						t.Errorf("%d had to go", i+1)
					}
				}
				close(release)
			})
		})
	}
}

// TestWhatDoesNotEndIsBounded: whose request waits for what does not come has a goroutine even after it had to go.
func TestWhatDoesNotEndIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen(4096)
		_, release := crowded(t, ln)
		for range 2*maxConns - 1 {
			send(t, ln, waiting)
			synctest.Wait() // until its goroutine is there
		}
		last := send(t, ln, asking)
		if !answered(last) {
			t.Error("there is room for one more")
		}
		synctest.Wait() // until it waits for its next request
		if answered(send(t, ln, asking)) {
			t.Error("there are more than twice as many as there is room for")
		}
		if !stillOpen(last) {
			t.Error("it was not the newcomer that went")
		}
		close(release)
		synctest.Wait()
		if !answered(send(t, ln, asking)) {
			t.Error("there is no room, though all have gone that had to")
		}
	})
}

// TestWhoHasToGoIsNotWaitedFor, even if nothing can be said any more to one who does not read.
func TestWhoHasToGoIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca, err := devpki.NewCA(devpki.Options{CommonName: "ca"})
		if err != nil {
			t.Fatal(err)
		}
		id, err := ca.Issue(devpki.Request{CommonName: "port", DNSNames: []string{"localhost"}})
		if err != nil {
			t.Fatal(err)
		}
		const room = 64 << 10
		near, far := memnet.Pipe(room)
		defer far.Close()
		session := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{id.TLSCertificate()}, MinVersion: tls.VersionTLS13})
		client := tls.Client(far, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS13})
		shaken := make(chan error, 1)
		go func() { shaken <- session.Handshake() }()
		if err := errors.Join(client.Handshake(), <-shaken); err != nil {
			t.Fatal(err)
		}
		_ = near.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := near.Write(make([]byte, 2*room)); err == nil || n == 0 {
			t.Fatalf("%d bytes were taken, %v", n, err)
		}
		_ = near.SetWriteDeadline(time.Time{})
		began := time.Now()
		leave(session)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		if _, err := near.Write(nil); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the socket is still open: %v", err)
		}
	})
}

func TestTheLogIsToldOfACrowdNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newRoom(1, slog.New(slog.NewTextHandler(&log, nil)))
		for range 10 {
			near, far := memnet.Pipe(1)
			r.follow(near, http.StateNew)
			t.Cleanup(func() { _ = far.Close() })
			time.Sleep(fullPause / 4)
		}
		if lines := strings.Count(log.String(), "too many connections"); lines != 3 { // of nine too many in 2¼ minutes
			t.Errorf("%d lines:\n%s", lines, &log)
		}
	})
}
