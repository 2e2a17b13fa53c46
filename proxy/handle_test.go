package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// echoes is a handler that sends back what comes, until it is told to end.
func echoes(ctx context.Context, client *Client) {
	stop := context.AfterFunc(ctx, func() { _ = client.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.Copy(client, client)
}

// dialFront connects a client, and no target.
func dialFront(t *testing.T, r *rig) net.Conn {
	t.Helper()
	c, err := r.front.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stopAll drains the server.
func stopAll(t *testing.T, r *rig) {
	t.Helper()
	if err := r.stop(t, time.Hour); err != nil {
		t.Error(err)
	}
}

func TestHandledClientsAreServedInPlaceOfTheTarget(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPKI(t)
			server := &Server{Handle: echoes, Dial: func(context.Context) (net.Conn, error) { panic("nobody is to be dialled") }}
			if secure {
				server.TLS = p.serverConfig()
			}
			r := start(t, server, nil)
			c := dialFront(t, r)
			if secure {
				c = tls.Client(c, p.clientConfig())
			}
			sent := bytes.Repeat([]byte("x"), 100<<10)
			go func() {
				_, _ = c.Write(sent)
				closeWrite(c)
			}()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("TLS %v: %d bytes, want %d; %v", secure, len(got), len(sent), err)
			}
			synctest.Wait()
			_ = c.Close()
			if in, out := r.Bytes(); in != 100<<10 || out != 100<<10 {
				t.Errorf("TLS %v: counted %d and %d bytes", secure, in, out)
			}
			stopAll(t, r)
			if got := r.journal.all(); !slices.Equal(got[len(got)-2:], []string{"opened", "closed eof"}) {
				t.Errorf("TLS %v: told of %q", secure, got)
			}
		})
	}
}

func TestHandlersMayUseDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		result := make(chan error, 1)
		r := start(t, &Server{TLS: p.serverConfig(), Handle: func(_ context.Context, client *Client) {
			in := make([]byte, 5)
			for range 3 {
				_ = client.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := client.Read(in); !errors.Is(err, os.ErrDeadlineExceeded) {
					result <- err
					return
				}
			}
			_ = client.SetReadDeadline(time.Time{})
			_, err := io.ReadFull(client, in)
			result <- err
		}}, nil)
		c := tls.Client(dialFront(t, r), p.clientConfig())
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		_, _ = io.WriteString(c, "hello")
		if err := <-result; err != nil {
			t.Error(err)
		}
		_ = c.Close()
		stopAll(t, r)
	})
}

func TestHandledClientsAreTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		server *Server
		end    func(*rig, *testing.T)
		after  time.Duration
		reason string
	}{
		{"of a drain", &Server{Handle: echoes}, func(r *rig, _ *testing.T) { _ = r.Shutdown(context.Background()) }, 0, "eof"},
		{"of their lifetime", &Server{Handle: echoes, MaxLifetime: time.Hour, CloseTimeout: time.Minute}, func(*rig, *testing.T) {}, time.Hour, "lifetime"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, test.server, nil)
				c := dialFront(t, r)
				synctest.Wait()
				began := time.Now()
				test.end(r, t)
				if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				if took := time.Since(began); took != test.after {
					t.Errorf("after %v, want %v", took, test.after)
				}
				_ = c.Close()
				stopAll(t, r)
				if got := r.journal.all(); got[len(got)-1] != "closed "+test.reason {
					t.Errorf("told of %q", got)
				}
			})
		})
	}
}

func TestHandledClientsThatDoNotListenAreCut(t *testing.T) {
	t.Parallel()
	deaf := func(_ context.Context, client *Client) { _, _ = io.Copy(io.Discard, client) }
	for _, test := range []struct {
		name   string
		server *Server
		after  time.Duration
		reason string
	}{
		{"after their lifetime", &Server{Handle: deaf, MaxLifetime: time.Hour, CloseTimeout: time.Minute}, time.Hour + time.Minute, "lifetime"},
		{"when they are idle", &Server{Handle: deaf, IdleTimeout: time.Minute}, time.Minute, "idle_timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, test.server, nil)
				c := dialFront(t, r)
				synctest.Wait()
				began := time.Now()
				if _, err := io.ReadAll(c); err == nil {
					t.Error("an orderly end")
				}
				if took := time.Since(began); took != test.after {
					t.Errorf("after %v, want %v", took, test.after)
				}
				_ = c.Close()
				stopAll(t, r)
				if got := r.journal.all(); got[len(got)-1] != "closed "+test.reason {
					t.Errorf("told of %q", got)
				}
			})
		})
	}
}

func TestHandledClientsAndTheirTargetsAreRechecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		back := memnet.Listen(4 << 10)
		targets := make(chan net.Conn, 1)
		go func() {
			c, err := back.Accept()
			if err != nil {
				return
			}
			session := tls.Server(c, p.serverConfig())
			_ = session.Handshake()
			targets <- session
		}()
		server := &Server{TLS: p.serverConfig(), Handle: echoes}
		r := start(t, server, nil)
		c := tls.Client(dialFront(t, r), p.clientConfig())
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		reach := server.Reacher(TLSDialer(back.Dial, p.clientConfig(), nil))
		target, err := reach(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := target.(*tls.Conn); !ok {
			t.Errorf("the target is a %T", target)
		}
		synctest.Wait()
		if closed := server.Recheck(func(tls.ConnectionState) error { return nil }); closed != 0 {
			t.Errorf("closed %d of whom all are accepted", closed)
		}
		if closed := server.Recheck(func(tls.ConnectionState) error { return errors.New("revoked") }); closed != 2 {
			t.Errorf("closed %d, want the client and the target", closed)
		}
		if _, err := target.Read(make([]byte, 1)); err == nil {
			t.Error("the target is still there")
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the client is still there")
		}
		_ = target.Close()
		_ = c.Close()
		_ = (<-targets).Close()
		_ = back.Close()
		stopAll(t, r)
		if left := len(server.reached); left > 0 {
			t.Errorf("%d targets are kept", left)
		}
	})
}

func TestTargetsThatCannotBeReachedAreNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failed []string
		server := &Server{DialTimeout: time.Second}
		server.Observer.Failed = func(stage, reason string) { failed = append(failed, stage+" "+reason) }
		for _, test := range []struct {
			name, reason string
			dial         func(context.Context) (net.Conn, error)
		}{
			{"nobody listens", "error", func(context.Context) (net.Conn, error) { return nil, errors.New("no") }},
			{"it takes too long", "timeout", func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }},
		} {
			_, err := server.Reacher(test.dial)(t.Context())
			named, ok := errors.AsType[reasoned](err)
			if !ok || named.Reason() != test.reason {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if got := strings.Join(failed, ", "); got != "dial error, dial timeout" {
			t.Errorf("told of %s", got)
		}
		// Somebody who does not wait is nobody's failure.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := server.Reacher(func(ctx context.Context) (net.Conn, error) { return nil, ctx.Err() })(ctx); err == nil || len(failed) != 2 {
			t.Errorf("%v, told of %q", err, failed)
		}
	})
}

// Whoever is cut off, it tells whose doing that was.
func TestHandlersTellWhyTheyCutAClientOff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		leaves func(*memnet.Conn)
		cut    func(*Client)
		reason string
	}{
		{"the target has failed", func(*memnet.Conn) {}, (*Client).Abort, "target_error"},
		{"one direction took too long", func(*memnet.Conn) {}, (*Client).Expire, "close_timeout"},
		{"the client was reset", (*memnet.Conn).Reset, (*Client).Drop, "client_reset"},
		{"the client has ended", func(c *memnet.Conn) { _ = c.CloseWrite() }, (*Client).Drop, "client_closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := start(t, &Server{Handle: func(_ context.Context, client *Client) {
					_, _ = io.WriteString(client, "half")
					_, _ = client.Read(make([]byte, 1))
					test.cut(client)
					test.cut(client)
					_ = client.Close()
				}}, nil)
				c := dialFront(t, r).(*memnet.Conn)
				wantRead(t, c, "half")
				if test.leaves(c); test.reason == "target_error" || test.reason == "close_timeout" {
					mustWrite(t, c, "x")
				}
				if test.reason != "client_reset" {
					if _, err := io.ReadAll(c); err == nil {
						t.Error("an orderly end")
					}
				}
				_ = c.Close()
				stopAll(t, r)
				if got := r.journal.all(); got[len(got)-1] != "closed "+test.reason {
					t.Errorf("told of %q", got)
				}
			})
		})
	}
}
