package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func mustWrite(t testing.TB, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func wantRead(t testing.TB, c io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func wantReadError(t testing.TB, c io.Reader, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d bytes, %v; want %v", n, err, want)
	}
}

func TestAnAnswerComesAfterTheClientHasHalfClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{CloseTimeout: time.Minute}, nil)
		client, target := r.connect(t)
		mustWrite(t, client, "question")
		_ = client.CloseWrite()
		wantRead(t, target, "question")
		wantReadError(t, target, io.EOF)
		time.Sleep(59 * time.Second)
		mustWrite(t, target, "answer")
		_ = target.Close()
		wantRead(t, client, "answer")
		wantReadError(t, client, io.EOF)
		_ = client.Close()
		if err := r.stop(t, time.Second); err != nil {
			t.Error(err)
		}
		wantEvents(t, r, "accepted", "opened", "closed eof")
	})
}

func TestCloseTimeoutBoundsTheOtherDirection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		closeTimeout time.Duration
		want         time.Duration
		reason       string
	}{
		{"after a minute", time.Minute, time.Minute, "closed close_timeout"},
		{"at once", 0, 0, "closed eof"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &Server{CloseTimeout: c.closeTimeout}, nil)
				client, target := r.connect(t)
				started := time.Now()
				mustWrite(t, target, "all of it")
				_ = target.CloseWrite()
				wantRead(t, client, "all of it")
				wantReadError(t, client, io.EOF)
				wantReadError(t, target, syscall.ECONNRESET) // the client never ended what it sends
				if waited := time.Since(started); waited != c.want {
					t.Errorf("closed after %v, want %v", waited, c.want)
				}
				closeAll(client, target)
				_ = r.stop(t, time.Second)
				wantEvents(t, r, "accepted", "opened", c.reason)
			})
		})
	}
}

func TestIdleTimeoutCountsFromTheLastByteEitherWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{IdleTimeout: 10 * time.Second}, nil)
		client, target := r.connect(t)
		started := time.Now()
		for range 5 {
			time.Sleep(7 * time.Second)
			mustWrite(t, client, "x")
			wantRead(t, target, "x")
			time.Sleep(7 * time.Second)
			mustWrite(t, target, "y")
			wantRead(t, client, "y")
		}
		wantReadError(t, client, syscall.ECONNRESET)
		if lived, want := time.Since(started), 80*time.Second; lived != want {
			t.Errorf("closed after %v, want %v", lived, want)
		}
		closeAll(client, target)
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "opened", "closed idle_timeout")
	})
}

func TestMaxLifetimeEndsABusyConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{MaxLifetime: time.Minute, IdleTimeout: time.Hour}, nil)
		client, target := r.connect(t)
		started := time.Now()
		go func() { _, _ = io.Copy(io.Discard, target) }()
		var err error
		for err == nil {
			time.Sleep(100 * time.Millisecond)
			_, err = client.Write([]byte("x"))
		}
		if lived := time.Since(started); lived < time.Minute || lived > time.Minute+100*time.Millisecond {
			t.Errorf("closed after %v, want a minute", lived)
		}
		closeAll(client, target)
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "opened", "closed lifetime")
	})
}

func TestAResetIsPassedOnAsAReset(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"client", "target"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &Server{CloseTimeout: time.Minute}, nil)
				client, target := r.connect(t)
				from, to := client, target
				if who == "target" {
					from, to = target, client
				}
				mustWrite(t, from, "last words")
				from.Reset()
				wantRead(t, to, "last words")
				wantReadError(t, to, syscall.ECONNRESET)
				closeAll(to)
				_ = r.stop(t, time.Second)
				wantEvents(t, r, "accepted", "opened", "closed "+who+"_reset")
			})
		})
	}
}

// A TLS peer sees the difference between an end and a cut by the close_notify alone.
func TestATLSPeerGetsNoCloseNotifyForAResetTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Minute}, nil)
		client, target := r.connectTLS(t, certs)
		mustWrite(t, target, "half an ans")
		target.Reset()
		wantRead(t, client, "half an ans")
		wantReadError(t, client, io.EOF)
		if !newSide(client).truncated() {
			t.Error("the client got a close_notify")
		}
		newSide(client).close()
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed target_reset")
	})
}

// crypto/tls gives a close_notify five seconds to be written; the peer may need longer to make room for it.
func TestAnEndOfStreamReachesAReaderSlowerThanFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Hour}, nil)
		client, target := r.connectTLS(t, certs)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
		go func() {
			_, _ = target.Write(sent)
			_ = target.CloseWrite()
		}()
		time.Sleep(10 * time.Minute)
		got, err := io.ReadAll(client)
		if cut := newSide(client).truncated(); err != nil || !bytes.Equal(got, sent) || cut {
			t.Errorf("got %d of %d bytes, %v, cut off: %v", len(got), len(sent), err, cut)
		}
		_ = client.CloseWrite()
		wantReadError(t, target, io.EOF)
		newSide(client).close()
		_ = target.Close()
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed eof")
	})
}

func TestATLSStreamWithoutCloseNotifyEndsAndIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Minute}, nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := tls.Client(socket, certs.clientConfig())
		mustWrite(t, client, "fire and forget")
		target := r.accept(t)
		_ = socket.Close() // as programs do that close the socket under their TLS library
		wantRead(t, target, "fire and forget")
		wantReadError(t, target, io.EOF)
		_ = target.Close()
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed no_close_notify")
	})
}

// The target answers early and goes away while the client is still sending, as HTTP servers do that refuse an upload.
func TestAnEarlyAnswerArrivesAlthoughTheClientIsStillSending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, &Server{CloseTimeout: time.Hour}, nil)
		client, target := r.connect(t)
		started := time.Now()
		wrote := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				_, err = client.Write(make([]byte, 1000))
				time.Sleep(10 * time.Millisecond)
			}
			wrote <- err
		}()
		wantRead(t, target, string(make([]byte, 5000)))
		mustWrite(t, target, "413 too much")
		_ = target.CloseWrite()
		synctest.Wait()
		_ = target.Close()
		time.Sleep(time.Second) // the client is slow to look
		wantRead(t, client, "413 too much")
		wantReadError(t, client, io.EOF)
		if err := <-wrote; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the client's writes ended with %v", err)
		}
		if lasted := time.Since(started); lasted > closeLinger+time.Second {
			t.Errorf("bytes were taken from the client for %v after the target was gone", lasted)
		}
		_ = client.Close()
		_ = r.stop(t, time.Second)
		if got := r.journal.all(); got[len(got)-1] != "closed target_reset" && got[len(got)-1] != "closed target_closed" {
			t.Errorf("events: %q", got)
		}
	})
}

// A forged FIN, or a crash, can end a TLS stream anywhere; in the middle of a record, bytes are certainly missing.
func TestATLSStreamThatEndsInTheMiddleOfARecordIsNoEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Minute}, nil)
		client, target := r.connectTLS(t, certs)
		mustWrite(t, client, "rm -rf /tmp/foo")
		wantRead(t, target, "rm -rf /tmp/foo")
		// The header of a record of 64 bytes, and none of them.
		mustWrite(t, newSide(client).socket, "\x17\x03\x03\x00\x40")
		closeWrite(newSide(client).socket)
		wantReadError(t, target, syscall.ECONNRESET)
		newSide(client).close()
		_ = target.Close()
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed client_truncated")
	})
}

// A deadline that ends a connection is the reason, whatever was remarked before.
func TestADeadlineIsTheReasonAfterAnEndWithoutCloseNotify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Minute}, nil)
		client, target := r.connectTLS(t, certs)
		closeWrite(newSide(client).socket)
		wantReadError(t, target, io.EOF)
		time.Sleep(2 * time.Minute)
		if _, err := target.Write([]byte("late")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target's write: %v, want ECONNRESET", err)
		}
		newSide(client).close()
		_ = target.Close()
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed close_timeout")
	})
}

// What a peer says or breaks once the handshake is over is its doing, and no end of its stream.
func TestAPeerThatBreaksTLSIsNoEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ record, reason string }{
		"a record that is longer than there may be": {"\x17\x03\x03\xff\xff", "client_bad_tls_message"},
		"a record that nobody has sealed":           {"\x17\x03\x03\x00\x20" + strings.Repeat("x", 0x20), "client_bad_tls_message"},
		"no record":                                 {"GET / HTTP/1.1\r\n", "client_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				r := start(t, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Minute}, nil)
				client, target := r.connectTLS(t, certs)
				mustWrite(t, client, "hello")
				wantRead(t, target, "hello")
				mustWrite(t, newSide(client).socket, test.record)
				wantReadError(t, target, syscall.ECONNRESET)
				newSide(client).close()
				_ = target.Close()
				_ = r.stop(t, time.Second)
				wantEvents(t, r, "accepted", "handshake", "opened", "closed "+test.reason)
			})
		})
	}
}

// In TLS 1.3 a target refuses a certificate when the client's part of the handshake is over.
func TestATargetThatRefusesTheCertificateLateIsNoEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		config := certs.clientConfig()
		config.Certificates = []tls.Certificate{newPKI(t).client}
		r := start(t, &Server{CloseTimeout: time.Minute}, config)
		client := dialFront(t, r)
		target := tls.Server(r.accept(t), certs.serverConfig())
		if err := target.Handshake(); err == nil {
			t.Error("the target lets a stranger in")
		}
		wantReadError(t, client, syscall.ECONNRESET)
		closeAll(client, target)
		_ = r.stop(t, time.Second)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed target_alert")
	})
}
