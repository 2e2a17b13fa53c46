package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

func TestTheTargetIsToldBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := startFrom(t, stranger, &Server{TLS: certs.serverConfig(), CloseTimeout: time.Minute,
			Announce: func(source, destination net.Addr, session *tls.ConnectionState) ([]byte, error) {
				text, err := announceAddresses(source, destination, session)
				return append(text, session.ServerName+" "+session.PeerCertificates[0].Subject.CommonName+"\n"...), err
			},
		})
		client, target := r.connectTLS(t, certs)
		mustWrite(t, client, "question")
		wantRead(t, target, "from "+stranger+" to "+listening+"\nlocalhost client\nquestion")
		_ = client.CloseWrite()
		wantReadError(t, target, io.EOF)
		mustWrite(t, target, "answer")
		_ = target.CloseWrite()
		wantRead(t, client, "answer")
		closeAll(client, target)
		_ = r.stop(t, time.Minute)
		wantEvents(t, r, "accepted", "handshake", "opened", "closed eof")
	})
}

// A target that speaks first, and one that waits, hear of the client before it says anything.
func TestASilentClientIsAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startFrom(t, stranger, &Server{Announce: AnnounceConn, CloseTimeout: time.Minute})
		client, target := r.connect(t)
		wantRead(t, target, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x02\xc6\x33\x64\x02\x03\xe8\x01\xbb")
		mustWrite(t, target, "welcome")
		wantRead(t, client, "welcome")
		closeAll(client, target)
		_ = r.stop(t, time.Minute)
	})
}

func TestConnectionsThatCannotBeAnnounced(t *testing.T) {
	t.Parallel()
	long := func(net.Addr, net.Addr, *tls.ConnectionState) ([]byte, error) { return make([]byte, 64<<10), nil }
	tests := []struct {
		name     string
		announce Announcement
		target   func(*memnet.Conn)
		after    time.Duration
		reason   string
		text     string
	}{
		{
			"there is no way to say it",
			func(net.Addr, net.Addr, *tls.ConnectionState) ([]byte, error) { return nil, errors.New("beyond words") },
			nil, 0, "announce_failed", "announcing the client to the target: beyond words",
		},
		{"the target goes away", long, func(c *memnet.Conn) { _ = c.SetLinger(0); _ = c.Close() }, 0, "announce_failed", "connection reset by peer"},
		{"the target does not read", long, nil, 10 * time.Second, "timeout", "i/o timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startFrom(t, stranger, &Server{Announce: tt.announce, DialTimeout: 10 * time.Second, MaxConns: 1})
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				target := r.accept(t)
				if tt.target != nil {
					tt.target(target)
				}
				time.Sleep(tt.after)
				synctest.Wait()
				wantEvents(t, r, "accepted", "failed announce "+tt.reason, "closed "+tt.reason)
				if _, err := io.ReadAll(client); err == nil {
					t.Error("the client's connection ended as if it was over")
				}
				closeAll(client, target)
				_ = r.stop(t, time.Minute)
				wantNothingHeld(t, r)
				if log := r.log.String(); !strings.Contains(log, `level=ERROR msg="error on announcing"`) || !strings.Contains(log, tt.text) || strings.Contains(log, "pipe\"") {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

func TestShutdownWhileATargetDoesNotListen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startFrom(t, stranger, &Server{DialTimeout: time.Hour, Announce: func(net.Addr, net.Addr, *tls.ConnectionState) ([]byte, error) {
			return make([]byte, 64<<10), nil
		}})
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target := r.accept(t)
		synctest.Wait()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantEvents(t, r, "accepted", "failed announce shutdown", "closed shutdown")
		closeAll(client, target)
	})
}

func TestLocalDialer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen(8) // less than a header takes
		dialled := make(chan net.Conn, 1)
		go func() {
			c, err := LocalDialer(ln.Dial)(t.Context())
			if err != nil {
				t.Error(err)
			}
			dialled <- c
		}()
		target, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		wantRead(t, target, local2)
		closeAll(<-dialled, target)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			c, err := LocalDialer(ln.Dial)(ctx)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a target that does not read: %v", err)
			}
			dialled <- c
		}()
		target, err = ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c := <-dialled; c != nil {
			t.Error("a connection is left")
		}
		_ = target.Close()
		_ = ln.Close()
		if _, err := LocalDialer(ln.Dial)(t.Context()); err == nil {
			t.Error("a dial that failed returned no error")
		}
	})
}
