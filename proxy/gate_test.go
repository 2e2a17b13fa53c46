package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

func TestGateLetsInTurnByTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := NewGate(1)
		holder := gate.pass(t.Context())
		if err := holder.enter(); err != nil {
			t.Fatal(err)
		}
		var order, want []int
		var all sync.WaitGroup
		for i := range 50 {
			want = append(want, i)
			all.Go(func() {
				p := gate.pass(t.Context())
				if err := p.enter(); err != nil {
					t.Error(err)
				}
				order = append(order, i)
				p.leave()
			})
			synctest.Wait()
		}
		holder.leave()
		all.Wait()
		if !slices.Equal(order, want) {
			t.Errorf("let in as %v", order)
		}
	})
}

// Nobody computes beside as many as the gate is wide, and the gate is made use of.
func TestGateIsAsWideAsItSays(t *testing.T) {
	t.Parallel()
	const width, clients = 3, 12
	const computing = standstill / 2
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		var now, most atomic.Int32
		config := certs.serverConfig()
		config.VerifyConnection = func(tls.ConnectionState) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(computing)
			now.Add(-1)
			return nil
		}
		r := start(t, &Server{TLS: config, Gate: NewGate(width), CloseTimeout: time.Minute}, nil)
		started := time.Now()
		var all sync.WaitGroup
		for range clients {
			socket, err := r.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				_, _ = tls.Client(newWire(socket, new(buffers)), certs.clientConfig()).Read(make([]byte, 1))
				_ = socket.Close()
			})
		}
		for range clients {
			_ = r.accept(t).Close()
		}
		all.Wait()
		if took := time.Since(started); most.Load() != width || took != clients/width*computing {
			t.Errorf("at most %d at once, in %v; want %d, in %v", most.Load(), took, width, clients/width*computing)
		}
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantNothingHeld(t, r)
	})
}

// What verifies a peer may wait for somebody who does not answer. Those who come meanwhile are let in one by one, and when it is
// over there are as many places as before.
func TestTheGateDoesNotStandStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := NewGate(1)
		late := gate.pass(t.Context())
		if err := late.enter(); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		var all sync.WaitGroup
		var entered [3]time.Duration
		for i := range entered {
			all.Go(func() {
				p := gate.pass(t.Context())
				if err := p.enter(); err != nil {
					t.Error(err)
				}
				entered[i] = time.Since(started)
				time.Sleep(time.Hour) // it is late as well
				p.leave()
			})
		}
		all.Wait()
		slices.Sort(entered[:])
		for i, took := range entered {
			if least := time.Duration(i+1) * standstill; took < least || took > 2*least {
				t.Errorf("the places that are late were passed after %v; want one after %v", took, least)
			}
		}
		if late.leave(); len(gate.places) != 1 {
			t.Errorf("%d places are free when all is over, want 1", len(gate.places))
		}
		again := gate.pass(t.Context())
		if err := again.enter(); err != nil || again.spare {
			t.Errorf("%v, a spare place: %t; want the one that is free", err, again.spare)
		}
		again.leave()
	})
}

// Peers that let a handshake wait, in whatever stage of it, keep no place at the gate.
func TestGateIsGivenUpWhileTheNetworkIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, halfOpen := range map[string]func(*testing.T, net.Conn, *tls.Config){
		"silent":                   func(*testing.T, net.Conn, *tls.Config) {},
		"a piece of a ClientHello": func(t *testing.T, c net.Conn, _ *tls.Config) { mustWrite(t, c, "\x16\x03\x01\x02") },
		"a ClientHello, and reads nothing": func(t *testing.T, c net.Conn, config *tls.Config) {
			if _, err := c.Write(clientHello(t, config)); err != nil {
				t.Error(err)
			}
		},
		"a ClientHello, and reads all": func(t *testing.T, c net.Conn, config *tls.Config) {
			if _, err := c.Write(clientHello(t, config)); err != nil {
				t.Error(err)
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				// Of what the server sends, little fits, so that it waits in its writing too.
				r := startBuffered(t, &Server{
					TLS: certs.serverConfig(), Gate: NewGate(1), HandshakeTimeout: time.Hour, CloseTimeout: time.Minute,
				}, nil, 64)
				var waiting []net.Conn
				for range 20 {
					c, err := r.front.Dial(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					halfOpen(t, c, certs.clientConfig())
					waiting = append(waiting, c)
				}
				synctest.Wait()
				started := time.Now()
				client, target := r.connectTLS(t, certs)
				if took := time.Since(started); took != 0 {
					t.Errorf("a client waited %v", took)
				}
				closeAll(client, target)
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				closeAll(waiting...)
				wantNothingHeld(t, r)
			})
		})
	}
}

// clientHello is the first that a client sends.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	near, far := memnet.Pipe(16 << 10)
	session := tls.Client(near, config)
	done := make(chan error, 1)
	go func() { done <- session.Handshake() }()
	hello := make([]byte, 16<<10)
	n, err := far.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(far, near)
	if err := <-done; err == nil {
		t.Fatal("a handshake with nobody succeeded")
	}
	return hello[:n]
}

// However a handshake ends, it gives up what it had: another one comes through a gate, and a limit, of one.
func TestNoPlaceIsLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server func(*tls.Config)
		client func(*testing.T, net.Conn, *tls.Config)
		event  string
	}{
		"not TLS": {event: "failed handshake not_tls", client: func(t *testing.T, c net.Conn, _ *tls.Config) {
			mustWrite(t, c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}},
		"gone at once": {event: "failed handshake client_abort", client: func(_ *testing.T, c net.Conn, _ *tls.Config) {
			_ = c.Close()
		}},
		"gone in the middle": {event: "failed handshake connection_lost", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			if _, err := c.Write(clientHello(t, config)); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}},
		"too slow": {event: "failed handshake timeout", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			if _, err := c.Write(clientHello(t, config)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}},
		"refused": {
			event:  "failed handshake not_allowed",
			server: func(config *tls.Config) { config.VerifyConnection = refuseFirst() },
			client: func(_ *testing.T, c net.Conn, config *tls.Config) {
				_, _ = tls.Client(c, config).Read(make([]byte, 1))
			},
		},
		"refuses": {event: "failed handshake peer_alert", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			config.RootCAs = newPKI(t).ca.Pool()
			_ = tls.Client(c, config).Handshake()
		}},
		"let in": {event: "opened", client: func(t *testing.T, c net.Conn, config *tls.Config) {
			if err := tls.Client(c, config).Handshake(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				config := certs.serverConfig()
				if c.server != nil {
					c.server(config)
				}
				r := start(t, &Server{
					TLS: config, Gate: NewGate(1), MaxHandshakes: 1, HandshakeTimeout: 10 * time.Second, CloseTimeout: time.Minute,
				}, nil)
				first, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c.client(t, first, certs.clientConfig())
				_ = first.Close()
				if c.event == "opened" {
					_ = r.accept(t).Close()
				}
				client, target := r.connectTLS(t, certs)
				closeAll(client, target)
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				if !slices.Contains(r.journal.all(), c.event) {
					t.Errorf("events: %q, want %q among them", r.journal.all(), c.event)
				}
				wantNothingHeld(t, r)
			})
		})
	}
}

// refuseFirst refuses the first peer alone.
func refuseFirst() func(tls.ConnectionState) error {
	var refused atomic.Bool
	return func(tls.ConnectionState) error {
		if refused.Swap(true) {
			return nil
		}
		return denied{}
	}
}

// wantNothingHeld is to be called after stop.
func wantNothingHeld(t testing.TB, r *rig) {
	t.Helper()
	if r.Gate != nil && len(r.Gate.places) != cap(r.Gate.places) {
		t.Errorf("%d of %d places at the gate are free after the end", len(r.Gate.places), cap(r.Gate.places))
	}
	if len(r.slots) > 0 || len(r.settling) > 0 || len(r.sources.open) > 0 {
		t.Errorf("held after the end: %d connection slots, %d handshake slots, sources %v", len(r.slots), len(r.settling), r.sources.open)
	}
}

// busyGate is one through which nobody comes, until release.
func busyGate(t *testing.T) (gate *Gate, release func()) {
	t.Helper()
	gate = NewGate(1)
	p := gate.pass(context.Background())
	if err := p.enter(); err != nil {
		t.Fatal(err)
	}
	return gate, p.leave
}

// The time limit of a handshake holds at the gate too, in both directions.
func TestWaitingAtTheGateTimesOut(t *testing.T) {
	t.Parallel()
	for name, handshaking := range map[string]func(*pki, *Server) *tls.Config{
		"with a client": func(certs *pki, s *Server) *tls.Config {
			s.TLS = certs.serverConfig()
			return nil
		},
		"with a target": func(certs *pki, _ *Server) *tls.Config { return certs.clientConfig() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const limit = standstill / 2
				certs := newPKI(t)
				gate, release := busyGate(t)
				s := &Server{Gate: gate, HandshakeTimeout: limit, DialTimeout: limit}
				r := start(t, s, handshaking(certs, s))
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if s.TLS == nil {
					defer closeAll(r.accept(t))
				} else if _, err := client.Write(clientHello(t, certs.clientConfig())); err != nil {
					t.Fatal(err)
				}
				started := time.Now()
				if _, err := client.Read(make([]byte, 1)); err == nil {
					t.Error("the client got something")
				}
				if took := time.Since(started); took != limit {
					t.Errorf("it took %v", took)
				}
				release()
				_ = r.stop(t, time.Minute)
				_ = client.Close()
				wantEvents(t, r, "accepted", "handshake", "failed handshake timeout", "closed timeout")
				wantNothingHeld(t, r)
			})
		})
	}
}

func TestShutdownDoesNotWaitAtTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		gate, release := busyGate(t)
		server := start(t, &Server{TLS: certs.serverConfig(), Gate: gate, HandshakeTimeout: time.Hour}, nil)
		dialling := start(t, &Server{Gate: gate, DialTimeout: time.Hour}, certs.clientConfig())
		var open []net.Conn
		for _, r := range []*rig{server, dialling} {
			for range 10 {
				c, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, c)
			}
		}
		for range 10 {
			open = append(open, dialling.accept(t))
		}
		synctest.Wait()
		started := time.Now()
		for _, r := range []*rig{server, dialling} {
			if err := r.stop(t, time.Minute); err != nil {
				t.Error(err)
			}
			if events := r.journal.all(); events[len(events)-1] != "closed shutdown" {
				t.Errorf("events: %q", events)
			}
		}
		if took := time.Since(started); took != 0 {
			t.Errorf("it took %v", took)
		}
		release()
		closeAll(open...)
		wantNothingHeld(t, server)
		wantNothingHeld(t, dialling)
	})
}

// Those that fail at once take turns until nothing is left of them.
func TestHandshakeThatFailsKeepsItsPlaceToTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := NewGate(1)
		s := &Server{TLS: newPKI(t).serverConfig(), Gate: gate, HandshakeTimeout: time.Minute}
		r := start(t, s, nil)
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		free := make(chan int, 1)
		closed := s.Observer.Closed
		s.Observer.Closed = func(lifetime time.Duration, reason string) { // before anybody is told of
			free <- len(gate.places)
			closed(lifetime, reason)
		}
		mustWrite(t, client, "GET / HTTP/1.1\r\n\r\n")
		if n := <-free; n != 0 {
			t.Error("the gate is free before the connection is gone")
		}
		_ = client.Close()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		wantNothingHeld(t, r)
	})
}

// Established connections do not pass through the gate.
func TestGateIsForHandshakesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		gate := NewGate(1)
		r := start(t, &Server{TLS: certs.serverConfig(), Gate: gate, CloseTimeout: time.Minute}, nil)
		client, target := r.connectTLS(t, certs)
		p := gate.pass(t.Context())
		if err := p.enter(); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, client, "hello")
		wantRead(t, target, "hello")
		mustWrite(t, target, "hello yourself")
		wantRead(t, client, "hello yourself")
		closeAll(client, target)
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		p.leave()
		wantNothingHeld(t, r)
	})
}

func TestNoGateLetsEverybodyThrough(t *testing.T) {
	t.Parallel()
	for name, gate := range map[string]*Gate{"nil": nil, "zero": {}, "without a bound": NewGate(0)} {
		for range 100 {
			if err := gate.pass(t.Context()).enter(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
