package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// serveTLS has targets on a listener shake hands, until it is closed, and go when their peer does.
func serveTLS(ln net.Listener, config *tls.Config) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer closeAll(c)
			_, _ = tls.Server(c, config).Read(make([]byte, 1))
		}()
	}
}

// An Observer is told the same of targets that many requests share as of those of one connection.
func TestReachedTargetsAreObserved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		dial   func(*memnet.Listener, *pki) func(context.Context) (net.Conn, error)
		events []string
	}{
		{"plain", func(ln *memnet.Listener, _ *pki) func(context.Context) (net.Conn, error) { return ln.Dial }, []string{"dialled"}},
		{"TLS", func(ln *memnet.Listener, p *pki) func(context.Context) (net.Conn, error) {
			return TLSDialer(slowly(ln.Dial), p.clientConfig(), nil)
		}, []string{"handshake true", "dialled 1s"}},
		{"of an unknown CA", func(ln *memnet.Listener, p *pki) func(context.Context) (net.Conn, error) {
			config := p.clientConfig()
			config.RootCAs = newPKI(t).ca.Pool()
			return TLSDialer(slowly(ln.Dial), config, nil)
		}, []string{"handshake false", "dialled 1s", "failed handshake error"}},
		{"nobody listens", func(*memnet.Listener, *pki) func(context.Context) (net.Conn, error) {
			return func(context.Context) (net.Conn, error) { return nil, errors.New("no") }
		}, []string{"dialled", "failed dial error"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPKI(t)
				ln := memnet.Listen(64 << 10)
				defer func() {
					closeAllOf(ln)
					time.Sleep(time.Minute) // for those on it to go
				}()
				switch test.name {
				case "plain":
					go func() {
						if c, err := ln.Accept(); err == nil {
							_ = c.Close()
						}
					}()
				default:
					go serveTLS(slowListener{ln}, p.serverConfig())
				}
				var events []string
				server := &Server{Observer: Observer{
					Handshake: func(took time.Duration, session *tls.ConnectionState) {
						if took < 2*time.Second {
							t.Errorf("the handshake took %v", took)
						}
						events = append(events, fmt.Sprint("handshake ", session != nil && session.HandshakeComplete))
					},
					Dialled: func(took time.Duration) {
						if took == 0 {
							events = append(events, "dialled")
						} else {
							events = append(events, "dialled "+took.String())
						}
					},
					Failed: func(stage, reason string) { events = append(events, "failed "+stage+" "+reason) },
				}}
				target, err := server.Reacher(test.dial(ln, p))(t.Context())
				if err == nil {
					_ = target.Close()
				}
				if !slices.Equal(events, test.events) {
					t.Errorf("told of %q, want %q; %v", events, test.events, err)
				}
				if left := len(server.reached); left > 0 {
					t.Errorf("%d targets are kept", left)
				}
			})
		})
	}
}

// slowly makes a dial function that takes a second more.
func slowly(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		time.Sleep(time.Second)
		return dial(ctx)
	}
}

// slowListener is one whose clients are read from two seconds later.
type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return lateConn{c}, err
}

type lateConn struct{ net.Conn }

func (c lateConn) Read(p []byte) (int, error) {
	time.Sleep(2 * time.Second)
	return c.Conn.Read(p)
}

// Whoever comes to be connected after trust was withdrawn is asked about, be it a client or a target.
func TestRecheckGoesForThoseWhoComeLater(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPKI(t)
			server := &Server{TLS: p.serverConfig(), Handle: func(context.Context, *Client) { t.Error("it is handled") }}
			r := start(t, server, nil)
			handshake := server.Observer.Handshake
			server.Observer.Handshake = func(took time.Duration, session *tls.ConnectionState) { // just before it is let in
				handshake(took, session)
				if closed := server.Recheck(withdrawn("client")); closed != 0 {
					t.Errorf("closed %d that were not open", closed)
				}
			}
			c := tls.Client(dialFront(t, r), p.clientConfig())
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the client got something")
			}
			_ = c.Close()
			stopAll(t, r)
			wantEvents(t, r, "accepted", "handshake", "failed handshake not_allowed", "closed not_allowed")
		})
	})
	t.Run("target", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPKI(t)
			ln := memnet.Listen(64 << 10)
			defer closeAllOf(ln)
			go serveTLS(ln, p.serverConfig())
			var failed string
			server := &Server{Observer: Observer{Failed: func(stage, reason string) { failed = stage + " " + reason }}}
			server.Recheck(withdrawn("server"))
			_, err := server.Reacher(TLSDialer(ln.Dial, p.clientConfig(), nil))(t.Context())
			if named, ok := errors.AsType[reasoned](err); !ok || named.Reason() != "not_allowed" || failed != "handshake not_allowed" {
				t.Errorf("%v, told of %q", err, failed)
			}
			if left := len(server.reached); left > 0 {
				t.Errorf("%d targets are kept", left)
			}
		})
	})
}
