package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientsThatTakeNothingAreCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		limit time.Duration
		pause time.Duration // between two reads of the client; 0: there are none
		cut   bool
	}{
		{"one that reads nothing", time.Minute, 0, true},
		{"one that is slow", time.Minute, 50 * time.Second, false},
		{"one that is too slow", time.Minute, 70 * time.Second, true},
		{"without a bound", 0, 24 * time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const pieces, size = 5, 4 << 10 // after a first one, each as large as the buffer on the way
				failed := make(chan error, 1)
				var cut time.Time
				r := start(t, &Server{Handle: func(_ context.Context, client *Client) {
					client.BoundWrites(test.limit)
					_, err := client.Write(make([]byte, size))
					time.Sleep(time.Hour) // while nothing is written there is no bound
					for n := 0; n < pieces && err == nil; n++ {
						_, err = client.Write(make([]byte, size))
					}
					cut = time.Now()
					failed <- err
				}}, nil)
				c := dialFront(t, r)
				time.Sleep(time.Hour)
				began := time.Now()
				for n := 0; test.pause > 0 && n <= pieces; n++ {
					time.Sleep(test.pause)
					_, _ = io.ReadFull(c, make([]byte, size))
				}
				err := <-failed
				named, ok := errors.AsType[reasoned](err)
				if ok != test.cut || ok && named.Reason() != "client_stalled" {
					t.Errorf("the handler was told %v", err)
				}
				if after := cut.Sub(began); test.cut && after != test.limit {
					t.Errorf("cut after %v, want %v", after, test.limit)
				}
				_ = c.Close()
				stopAll(t, r)
				want := "closed eof"
				if test.cut {
					want = "closed client_stalled"
				}
				if got := r.journal.all(); got[len(got)-1] != want {
					t.Errorf("told of %q, want %s", got, want)
				}
			})
		})
	}
}

// What a handler is told of a client is what a PROXY header and the handshake say of it.
func TestHandlersAreToldWhoTheClientIs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		secure bool
		want   string
	}{
		{"plain", false, `203.0.113.7:54321 198.51.100.99:8443 "" false "" 0`},
		{"TLS, by a route", true, `203.0.113.7:54321 198.51.100.99:8443 "a" true "localhost" 1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				told := make(chan string, 1)
				server := &Server{Handle: func(_ context.Context, client *Client) {
					state := client.ConnectionState()
					told <- fmt.Sprintf("%v %v %q %v %q %d", client.RemoteAddr(), client.LocalAddr(), client.Route(), client.Secure(), state.ServerName, len(state.PeerCertificates))
				}}
				if test.secure {
					server.TLS = certs.serverConfig()
					server.Route = func(name string) *Route { return map[string]*Route{"localhost": {Name: "a"}}[name] }
				}
				r := startFrom(t, balancer, server)
				var c net.Conn = &prefixed{Conn: dialFront(t, r), prefix: header2}
				if test.secure {
					c = tls.Client(c, certs.clientConfig())
				}
				go func() { _, _ = c.Write([]byte("hello")) }()
				if got := <-told; got != test.want {
					t.Errorf("told of %s, want %s", got, test.want)
				}
				_, _ = io.ReadAll(c)
				_ = c.Close()
				stopAll(t, r)
			})
		})
	}
}

// A handler that is to stop waits for neither direction.
func TestHandlersMayBoundBothDirections(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			certs := newPKI(t)
			failed := make(chan error, 2)
			server := &Server{Handle: func(_ context.Context, client *Client) {
				_ = client.SetDeadline(time.Now().Add(time.Minute))
				_, err := client.Read(make([]byte, 1))
				failed <- err
				_, err = client.Write(make([]byte, 1<<20))
				failed <- err
			}}
			if secure {
				server.TLS = certs.serverConfig()
			}
			r := start(t, server, nil)
			c := dialFront(t, r)
			began := time.Now()
			if secure {
				session := tls.Client(c, certs.clientConfig())
				if err := session.Handshake(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
					t.Errorf("TLS %v: %v after %v", secure, err, time.Since(began))
				}
			}
			_ = c.Close()
			stopAll(t, r)
			if got := r.journal.all(); got[len(got)-1] != "closed eof" { // a deadline is the handler's affair
				t.Errorf("TLS %v: told of %q", secure, got)
			}
		})
	}
}
