package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// held is a socket that somebody counts until it is released.
type held struct {
	net.Conn
	open *atomic.Int64
}

func (h held) NetConn() net.Conn { return h.Conn }

func (h held) Release() { h.open.Add(-1) }

// counted has sockets counted while they are open.
func counted(dial func(context.Context) (net.Conn, error), open *atomic.Int64) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		socket, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return held{socket, open}, nil
	}
}

// TestSocketsThatAreHeldAreReleased once their connection is over, however it ends, be they plain or under TLS.
func TestSocketsThatAreHeldAreReleased(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plain": false, "under TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var open atomic.Int64
				back := memnet.Listen(4 << 10)
				defer back.Close()
				dial := counted(back.Dial, &open)
				certs := newPKI(t)
				if secure {
					dial = TLSDialer(dial, certs.clientConfig(), nil)
				}
				refuses := false // to be announced to
				r := start(t, &Server{
					Dial: dial, CloseTimeout: time.Minute,
					Announce: func(net.Addr, net.Addr, *tls.ConnectionState) ([]byte, error) {
						if refuses {
							return nil, io.ErrClosedPipe
						}
						return nil, nil
					},
				}, nil)
				reach := func() (client, target *memnet.Conn) {
					socket, err := r.front.Dial(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					accepted, err := back.Accept()
					if err != nil {
						t.Fatal(err)
					}
					if secure {
						if err := tls.Server(accepted, certs.serverConfig()).Handshake(); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
					return socket.(*memnet.Conn), accepted.(*memnet.Conn)
				}
				client, target := reach()
				if n := open.Load(); n != 1 {
					t.Errorf("%d sockets are open while one connection is", n)
				}
				_ = client.CloseWrite()
				_ = target.Close()
				synctest.Wait()
				_ = client.Close()
				synctest.Wait()
				if n := open.Load(); n != 0 {
					t.Errorf("%d sockets are open after an orderly end", n)
				}
				client, target = reach()
				client.Reset()
				synctest.Wait()
				_ = target.Close()
				synctest.Wait()
				if n := open.Load(); n != 0 {
					t.Errorf("%d sockets are open after a reset", n)
				}
				refuses = true
				client, target = reach()
				synctest.Wait()
				if n := open.Load(); n != 0 {
					t.Errorf("%d sockets are open after the target could not be told of the client", n)
				}
				closeAll(client, target)
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestDialKnowsTheClient by the context, where ConnContext puts it; so does the Dial of an Upgrade.
func TestDialKnowsTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var told []any
		s := &Server{ConnContext: func(ctx context.Context, client net.Addr) context.Context {
			return context.WithValue(ctx, key{}, client.String())
		}}
		r := start(t, s, nil)
		dial := r.back.Dial
		s.Dial = func(ctx context.Context) (net.Conn, error) {
			told = append(told, ctx.Value(key{}))
			return dial(ctx)
		}
		upgrading := false
		s.Upgrade = func() Upgrade {
			if !upgrading {
				return Upgrade{}
			}
			return Upgrade{Dial: func(ctx context.Context, _ net.Conn) (net.Conn, error) {
				told = append(told, ctx.Value(key{}))
				return dial(ctx)
			}}
		}
		for range 2 {
			client, target := r.connect(t)
			want := r.Connections()[0].Remote
			if len(told) != 1 || told[0] != want {
				t.Errorf("it was told %v, want %s", told, want)
			}
			closeAll(client, target)
			synctest.Wait()
			upgrading, told = true, nil
		}
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
	})
}
