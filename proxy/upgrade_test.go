package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// hello is an upgrade that waits for a word and answers it.
func hello(c net.Conn) error {
	var word [5]byte
	if _, err := io.ReadFull(c, word[:]); err != nil {
		return err
	}
	if string(word[:]) != "hello" {
		_, _ = io.WriteString(c, "say hello first")
		return denied{}
	}
	_, err := io.WriteString(c, "begin")
	return err
}

// upgrading is a server whose clients say hello before TLS.
func upgrading(certs *pki, join func(client, target net.Conn) error) *Server {
	return &Server{
		TLS:              certs.serverConfig(),
		Upgrade:          func() Upgrade { return Upgrade{Client: hello, Join: join} },
		HandshakeTimeout: 10 * time.Second,
		DialTimeout:      10 * time.Second,
	}
}

func TestClientIsUpgradedBeforeItsHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		r := start(t, upgrading(certs, func(client, target net.Conn) error {
			if _, ok := client.(*tls.Conn); !ok {
				return errors.New("the client is not TLS")
			}
			var greeting [3]byte
			if _, err := io.ReadFull(target, greeting[:]); err != nil {
				return err
			}
			_, err := io.WriteString(client, "joined by "+string(greeting[:])+"\n")
			return err
		}), nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(socket, "hello"); err != nil {
			t.Fatal(err)
		}
		var begin [5]byte
		if _, err := io.ReadFull(socket, begin[:]); err != nil || string(begin[:]) != "begin" {
			t.Fatalf("%q, %v", begin, err)
		}
		client := tls.Client(newWire(socket, new(buffers)), certs.clientConfig())
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		target := r.accept(t)
		if _, err := io.WriteString(target, "220the rest"); err != nil {
			t.Fatal(err)
		}
		if err := target.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); err != nil || string(got) != "joined by 220\nthe rest" {
			t.Errorf("%q, %v", got, err)
		}
		closeAll(client.NetConn(), target)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

func TestUpgradesThatFail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		client func(*testing.T, net.Conn, *pki)
		join   func(client, target net.Conn) error
		events []string
		dialed bool
		took   time.Duration
	}{
		{
			name: "a refusal is read, whatever comes behind what is refused",
			client: func(t *testing.T, c net.Conn, _ *pki) {
				if _, err := io.WriteString(c, "login"+strings.Repeat("x", 1000)); err != nil {
					t.Error(err)
				}
				if got, err := io.ReadAll(c); err != nil || string(got) != "say hello first" {
					t.Errorf("%q, %v", got, err)
				}
			},
			events: []string{"accepted", "failed upgrade not_allowed", "closed not_allowed"},
		},
		{
			name:   "a port probe",
			client: func(*testing.T, net.Conn, *pki) {},
			events: []string{"accepted", "failed upgrade client_abort", "closed client_abort"},
		},
		{
			name: "half a word",
			client: func(t *testing.T, c net.Conn, _ *pki) {
				if _, err := io.WriteString(c, "he"); err != nil {
					t.Error(err)
				}
			},
			events: []string{"accepted", "failed upgrade connection_lost", "closed connection_lost"},
		},
		{
			name:   "silence",
			client: func(_ *testing.T, c net.Conn, _ *pki) { _, _ = io.Copy(io.Discard, c) },
			events: []string{"accepted", "failed upgrade timeout", "closed timeout"},
			took:   10 * time.Second,
		},
		{
			name: "a client that takes its time has no more for TLS",
			client: func(t *testing.T, c net.Conn, _ *pki) {
				for _, letter := range []string{"h", "e", "l", "l", "o"} {
					<-time.After(1900 * time.Millisecond)
					if _, err := io.WriteString(c, letter); err != nil {
						t.Error(err)
					}
				}
				_, _ = io.Copy(io.Discard, c)
			},
			events: []string{"accepted", "handshake", "failed handshake timeout", "closed timeout"},
			took:   10 * time.Second,
		},
		{
			name: "what is slipped in behind is no TLS",
			client: func(t *testing.T, c net.Conn, _ *pki) {
				if _, err := io.WriteString(c, "helloMAIL FROM:<mallory@example.com>\r\n"); err != nil {
					t.Error(err)
				}
				_, _ = io.Copy(io.Discard, c)
			},
			events: []string{"accepted", "handshake", "failed handshake not_tls", "closed not_tls"},
		},
		{
			name:   "a target that is silent when it should greet",
			client: saysHello,
			join: func(_, target net.Conn) error {
				_, err := target.Read(make([]byte, 1))
				return err
			},
			events: []string{"accepted", "handshake", "failed upgrade timeout", "closed timeout"},
			dialed: true,
			took:   10 * time.Second,
		},
		{
			name: "a target that turns away",
			client: func(t *testing.T, c net.Conn, certs *pki) {
				session := helloTLS(t, c, certs)
				if got, err := io.ReadAll(session); err != nil || string(got) != "come back later" {
					t.Errorf("%q, %v", got, err)
				}
			},
			join: func(client, _ net.Conn) error {
				if _, err := io.WriteString(client, "come back later"); err != nil {
					return err
				}
				return denied{}
			},
			events: []string{"accepted", "handshake", "failed upgrade not_allowed", "closed not_allowed"},
			dialed: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				s := upgrading(certs, test.join)
				dialed := false
				var there *memnet.Conn
				s.Dial = func(context.Context) (net.Conn, error) {
					dialed = true
					var here *memnet.Conn
					here, there = memnet.Pipe(1 << 10)
					return here, nil
				}
				r := start(t, s, nil)
				began := time.Now()
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				test.client(t, client, certs)
				if err := client.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if took := time.Since(began); took != test.took && test.took > 0 {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				if dialed != test.dialed {
					t.Errorf("dialled: %v, want %v", dialed, test.dialed)
				}
				if there != nil {
					if _, err := there.Read(make([]byte, 1)); err == nil {
						t.Error("the target's connection is open, or was sent something")
					}
				}
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				wantEvents(t, r, test.events...)
			})
		})
	}
}

// helloTLS says hello and shakes hands.
func helloTLS(t *testing.T, c net.Conn, certs *pki) *tls.Conn {
	t.Helper()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len("begin"))); err != nil {
		t.Fatal(err)
	}
	session := tls.Client(newWire(c, new(buffers)), certs.clientConfig())
	if err := session.Handshake(); err != nil {
		t.Fatal(err)
	}
	return session
}

// saysHello is a client that does so, and reads what there is to read.
func saysHello(t *testing.T, c net.Conn, certs *pki) {
	_, _ = io.Copy(io.Discard, helloTLS(t, c, certs))
}

func TestTargetIsUpgradedBeforeItsHandshake(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		target func(*testing.T, net.Conn)
		reason string
		took   time.Duration
	}{
		{name: "yes", target: func(t *testing.T, c net.Conn) {
			if err := hello(c); err != nil {
				t.Error(err)
			}
		}},
		{name: "no", target: func(t *testing.T, c net.Conn) {
			if _, err := io.ReadFull(c, make([]byte, len("hello"))); err != nil {
				t.Error(err)
			}
			if _, err := io.WriteString(c, "never"); err != nil {
				t.Error(err)
			}
		}, reason: "failed upgrade not_allowed"},
		{name: "silence", target: func(_ *testing.T, c net.Conn) { _, _ = io.Copy(io.Discard, c) }, reason: "failed upgrade timeout", took: 10 * time.Second},
		{name: "gone", target: func(*testing.T, net.Conn) {}, reason: "failed upgrade connection_lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs, back := newPKI(t), memnet.Listen(4<<10)
				ask := func(target net.Conn) error {
					if _, err := io.WriteString(target, "hello"); err != nil {
						return err
					}
					var answer [5]byte
					if _, err := io.ReadFull(target, answer[:]); err == io.EOF {
						return io.ErrUnexpectedEOF
					} else if err != nil {
						return err
					}
					if string(answer[:]) != "begin" {
						return denied{}
					}
					return nil
				}
				s := &Server{DialTimeout: 10 * time.Second}
				s.Upgrade = func() Upgrade {
					return Upgrade{Dial: func(ctx context.Context, _ net.Conn) (net.Conn, error) {
						return TLSDialer(UpgradingDialer(back.Dial, ask), certs.clientConfig(), nil)(ctx)
					}}
				}
				r := start(t, s, nil)
				began := time.Now()
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				target, err := back.Accept()
				if err != nil {
					t.Fatal(err)
				}
				test.target(t, target)
				if test.reason == "" {
					config := certs.serverConfig()
					session := tls.Server(newWire(target, new(buffers)), config)
					if _, err := io.WriteString(session, "over TLS"); err != nil {
						t.Error(err)
					}
					got := make([]byte, len("over TLS"))
					if _, err := io.ReadFull(client, got); err != nil || string(got) != "over TLS" {
						t.Errorf("%q, %v", got, err)
					}
				}
				closeAll(target)
				synctest.Wait()
				_, _ = io.Copy(io.Discard, client)
				if took := time.Since(began); test.took > 0 && took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				closeAll(client)
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				if got := strings.Join(r.journal.all(), ", "); test.reason != "" && !strings.Contains(got, test.reason) {
					t.Errorf("events: %s", got)
				}
				_ = back.Close()
			})
		})
	}
}

func TestShutdownEndsAnUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, upgrading(newPKI(t), nil), nil)
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		wantEvents(t, r, "accepted", "failed upgrade shutdown", "closed shutdown")
		closeAll(client)
	})
}

// TestATargetThatRefusesTheCertificateIsJoinedInVain has a target of TLS 1.3 refuse: our part of the handshake is over by then.
func TestATargetThatRefusesTheCertificateIsJoinedInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs, back := newPKI(t), memnet.Listen(4<<10)
		s := &Server{Upgrade: func() Upgrade {
			return Upgrade{
				Dial: func(ctx context.Context, _ net.Conn) (net.Conn, error) {
					return TLSDialer(back.Dial, certs.clientConfig(), nil)(ctx)
				},
				Join: func(_, target net.Conn) error {
					_, err := target.Read(make([]byte, 1))
					return err
				},
			}
		}}
		r := start(t, s, nil)
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		target, err := back.Accept()
		if err != nil {
			t.Fatal(err)
		}
		config := certs.serverConfig()
		config.VerifyConnection = func(tls.ConnectionState) error { return denied{} }
		if err := tls.Server(newWire(target, new(buffers)), config).Handshake(); err == nil {
			t.Error("the target let it in")
		}
		closeAll(target)
		synctest.Wait()
		closeAll(client)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantEvents(t, r, "accepted", "handshake", "failed upgrade peer_alert", "closed peer_alert")
		if reasons := Failures()[stageUpgrade]; !slices.Contains(reasons, reasonPeerAlert) {
			t.Errorf("it is none of %v", reasons)
		}
		_ = back.Close()
	})
}

// What we call ourselves before TLS is where the client connected to, which a PROXY header tells.
func TestUpgradesBehindAHeaderAreOfTheAddressInFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := make(chan string, 1)
		r := startFrom(t, balancer, &Server{TLS: newPKI(t).serverConfig(), Upgrade: func() Upgrade {
			return Upgrade{Client: func(client net.Conn) error {
				told <- client.LocalAddr().String()
				return denied{}
			}}
		}})
		c := dialFront(t, r)
		mustWrite(t, c, header2)
		if got := <-told; got != "198.51.100.99:8443" {
			t.Errorf("it is called %s", got)
		}
		_ = c.Close()
		_ = r.stop(t, time.Minute)
	})
}

// Whatever comes of a dial that took too long is closed.
func TestATargetThatComesTooLateIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe(1)
		r := start(t, &Server{DialTimeout: time.Second, CloseTimeout: time.Minute, Upgrade: func() Upgrade {
			return Upgrade{Dial: func(ctx context.Context, _ net.Conn) (net.Conn, error) {
				<-ctx.Done()
				time.Sleep(time.Second) // at the very moment, it may be in time still
				return near, nil
			}}
		}}, nil)
		c := dialFront(t, r)
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Error("the target got something")
		}
		closeAll(c, far)
		_ = r.stop(t, time.Minute)
		wantEvents(t, r, "accepted", "failed dial timeout", "closed timeout")
	})
}
