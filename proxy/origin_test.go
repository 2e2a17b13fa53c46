package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// balancer is where the connections come from that begin with a header, and where they go to.
const (
	balancer  = "192.0.2.1:1000"
	stranger  = "192.0.2.2:1000"
	listening = "198.51.100.2:443"
)

// The headers tell of 203.0.113.7:54321 to 198.51.100.99:8443.
const (
	header1 = "PROXY TCP4 203.0.113.7 198.51.100.99 54321 8443\r\n"
	header2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x63\xd4\x31\x20\xfb"
	local2  = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// placed is a listener whose connections come from one place.
type placed struct {
	*memnet.Listener
	remote, local net.Addr
}

func (l *placed) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return placedConn{c.(*memnet.Conn), l.remote, l.local}, nil
}

type placedConn struct {
	*memnet.Conn
	remote, local net.Addr
}

func (c placedConn) RemoteAddr() net.Addr { return c.remote }
func (c placedConn) LocalAddr() net.Addr  { return c.local }

func tcpAddr(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

// startFrom starts a rig to which everybody connects from one address. Connections of the balancer begin with a header.
func startFrom(t *testing.T, from string, s *Server) *rig {
	t.Helper()
	s.HeaderFrom = func(peer net.Addr) bool { return peer.String() == balancer }
	return startOn(t, s, nil, 4<<10, func(ln *memnet.Listener) net.Listener {
		return &placed{ln, tcpAddr(from), tcpAddr(listening)}
	})
}

// announceAddresses is an Announcement that can be read.
func announceAddresses(source, destination net.Addr, _ *tls.ConnectionState) ([]byte, error) {
	return []byte("from " + source.String() + " to " + destination.String() + "\n"), nil
}

func TestAHeaderSaysWhereTheClientIs(t *testing.T) {
	t.Parallel()
	tests := []struct{ header, source, destination string }{
		{header1, "203.0.113.7:54321", "198.51.100.99:8443"},
		{header2, "203.0.113.7:54321", "198.51.100.99:8443"},
		{local2, balancer, listening},
		{"PROXY UNKNOWN\r\n", balancer, listening},
	}
	for _, tt := range tests {
		t.Run(tt.header, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startFrom(t, balancer, &Server{Announce: announceAddresses, CloseTimeout: time.Minute})
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				mustWrite(t, client, tt.header+"first")
				target := r.accept(t)
				wantRead(t, target, "from "+tt.source+" to "+tt.destination+"\nfirst")
				mustWrite(t, client, "more") // the end of a header is no end of a read
				wantRead(t, target, "more")
				mustWrite(t, target, "answer")
				wantRead(t, client, "answer")

				if got := r.Connections()[0].Remote; got != tt.source {
					t.Errorf("the connection is of %s, want %s", got, tt.source)
				}
				closeAll(client, target)
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				wantEvents(t, r, "accepted", "opened", "closed eof")
				if line := `msg="closed pipe" conn=1 remote=` + tt.source; !strings.Contains(r.log.String(), line) {
					t.Errorf("no %s in the log:\n%s", line, r.log)
				}
			})
		})
	}
}

// What follows a header in the same packet is the handshake; what it is judged by is where the client is.
func TestAHeaderBeforeAHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		certs := newPKI(t)
		config := certs.serverConfig()
		asked := make(chan string, 1)
		inner := config.Clone()
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			asked <- hello.Conn.RemoteAddr().String()
			return inner, nil
		}
		r := startFrom(t, balancer, &Server{TLS: config, Announce: announceAddresses, HandshakeTimeout: time.Minute, CloseTimeout: time.Minute})
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := tls.Client(&prefixed{Conn: socket, prefix: header2}, certs.clientConfig())
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		target := r.accept(t)
		wantRead(t, target, "from 203.0.113.7:54321 to 198.51.100.99:8443\n")
		mustWrite(t, client, "question")
		wantRead(t, target, "question")
		if from := <-asked; from != "203.0.113.7:54321" {
			t.Errorf("the handshake was of %s", from)
		}
		closeAll(client, target)
		_ = r.stop(t, time.Minute)
		wantNothingHeld(t, r)
	})
}

// prefixed sends something with its first bytes.
type prefixed struct {
	net.Conn
	prefix string
}

func (c *prefixed) Write(p []byte) (int, error) {
	prefix := c.prefix
	c.prefix = ""
	n, err := c.Conn.Write(append([]byte(prefix), p...))
	return max(n-len(prefix), 0), err
}

func TestHeadersThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		send   func(t *testing.T, c *memnet.Conn)
		after  time.Duration
		events []string
	}{
		{
			"no header", func(t *testing.T, c *memnet.Conn) { mustWrite(t, c, "GET / HTTP/1.1\r\n\r\n") }, 0,
			[]string{"failed header proxy_header_missing", "closed proxy_header_missing"},
		},
		{
			"a broken one", func(t *testing.T, c *memnet.Conn) { mustWrite(t, c, "PROXY TCP4 1.1.1.1\r\n") }, 0,
			[]string{"failed header proxy_header_invalid", "closed proxy_header_invalid"},
		},
		{
			"one that is cut off", func(t *testing.T, c *memnet.Conn) { mustWrite(t, c, header2[:20]); _ = c.CloseWrite() }, 0,
			[]string{"failed header proxy_header_invalid", "closed proxy_header_invalid"},
		},
		{
			"one without an end", func(t *testing.T, c *memnet.Conn) { mustWrite(t, c, "PROXY UNKNOWN "+strings.Repeat("x", 1000)) }, 0,
			[]string{"failed header proxy_header_invalid", "closed proxy_header_invalid"},
		},
		{
			"a reset", func(t *testing.T, c *memnet.Conn) { mustWrite(t, c, header2[:20]); _ = c.SetLinger(0); _ = c.Close() }, 0,
			[]string{"failed header connection_lost", "closed connection_lost"},
		},
		{
			"nothing, and the end", func(_ *testing.T, c *memnet.Conn) { _ = c.CloseWrite() }, 0,
			[]string{"failed header client_abort", "closed client_abort"},
		},
		{
			"nothing, and a reset", func(_ *testing.T, c *memnet.Conn) { _ = c.SetLinger(0); _ = c.Close() }, 0,
			[]string{"failed header client_abort", "closed client_abort"},
		},
		{
			"nothing", func(*testing.T, *memnet.Conn) {}, 10 * time.Second,
			[]string{"failed header timeout", "closed timeout"},
		},
		{
			"one that lies about its length", func(t *testing.T, c *memnet.Conn) { mustWrite(t, c, header2[:14]+"\xff\xff"+header2[16:]) }, 10 * time.Second,
			[]string{"failed header timeout", "closed timeout"},
		},
		{
			"one that comes too slowly", func(_ *testing.T, c *memnet.Conn) {
				for i := range header1 {
					if _, err := io.WriteString(c, header1[i:i+1]); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}, 10 * time.Second,
			[]string{"failed header timeout", "closed timeout"},
		},
	}
	for _, tt := range tests {
		for _, mode := range []string{"plain", "TLS"} {
			t.Run(mode+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &Server{HandshakeTimeout: 10 * time.Second, MaxConnsPerIP: 1}
					if mode == "TLS" {
						s.TLS = newPKI(t).serverConfig()
					}
					r := startFrom(t, balancer, s)
					client, err := r.front.Dial(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					var sending sync.WaitGroup
					sending.Go(func() { tt.send(t, client.(*memnet.Conn)) })
					time.Sleep(tt.after)
					synctest.Wait()
					wantEvents(t, r, append([]string{"accepted"}, tt.events...)...)
					_ = client.Close()
					_ = r.stop(t, time.Minute)
					wantNothingHeld(t, r)
					sending.Wait()
				})
			})
		}
	}
}

// Header and handshake have one time limit together.
func TestASlowHeaderLeavesLessTimeForTheHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startFrom(t, balancer, &Server{TLS: newPKI(t).serverConfig(), HandshakeTimeout: 10 * time.Second})
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		time.Sleep(9 * time.Second)
		mustWrite(t, client, header2)
		wantReadError(t, client, io.EOF)
		if took := time.Since(started); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		_ = client.Close()
		_ = r.stop(t, time.Minute)
		wantEvents(t, r, "accepted", "handshake", "failed handshake timeout", "closed timeout")
	})
}

func TestShutdownWhileAHeaderIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startFrom(t, balancer, &Server{HandshakeTimeout: time.Hour})
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, client, header1[:10])
		synctest.Wait()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		_ = client.Close()
		wantEvents(t, r, "accepted", "failed header shutdown", "closed shutdown")
	})
}

func TestHeadersOfStrangersAreRefused(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{"v1": header1, "v2": header2, "local": local2, "unknown": "PROXY UNKNOWN\r\n"} {
		t.Run("TLS, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startFrom(t, stranger, &Server{TLS: newPKI(t).serverConfig()})
				client, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				mustWrite(t, client, header)
				synctest.Wait()
				_ = client.Close()
				_ = r.stop(t, time.Minute)
				wantEvents(t, r, "accepted", "handshake", "failed handshake proxy_header_not_allowed", "closed proxy_header_not_allowed")
			})
		})
		t.Run("plain, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startFrom(t, stranger, &Server{CloseTimeout: time.Minute})
				client, target := r.connect(t)
				mustWrite(t, client, header+"and more")
				wantReadError(t, target, syscall.ECONNRESET) // with nothing before it
				wantReadError(t, client, syscall.ECONNRESET)
				closeAll(client, target)
				_ = r.stop(t, time.Minute)
				wantEvents(t, r, "accepted", "opened", "closed proxy_header_not_allowed")
			})
		})
		t.Run("plain, byte by byte, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startFrom(t, stranger, &Server{CloseTimeout: time.Minute})
				client, target := r.connect(t)
				for i := range header {
					if _, err := io.WriteString(client, header[i:i+1]); err != nil {
						break
					}
					synctest.Wait()
				}
				got, err := io.ReadAll(target)
				if err == nil || len(got) >= min(len(header), 13) {
					t.Errorf("the target got %q, error %v", got, err)
				}
				closeAll(client, target)
				_ = r.stop(t, time.Minute)
				wantEvents(t, r, "accepted", "opened", "closed proxy_header_not_allowed")
			})
		})
	}
}

// A protocol that begins in the clear is not given a header for its own.
func TestHeadersOfStrangersBeforeAnUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startFrom(t, stranger, &Server{TLS: newPKI(t).serverConfig(), Upgrade: func() Upgrade {
			return Upgrade{Client: func(client net.Conn) error {
				_, err := bufio.NewReader(client).ReadString('\n')
				return err
			}}
		}})
		client, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, client, header1)
		synctest.Wait()
		_ = client.Close()
		_ = r.stop(t, time.Minute)
		wantEvents(t, r, "accepted", "failed upgrade proxy_header_not_allowed", "closed proxy_header_not_allowed")
	})
}

// Whoever may send no header is forwarded as ever: what begins like one, a target that speaks first, and both ends.
func TestStrangersAreForwarded(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"P", "PROXY is a word", "PROXY TCP", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n" + header1, "x"} {
		synctest.Test(t, func(t *testing.T) {
			r := startFrom(t, stranger, &Server{CloseTimeout: time.Minute})
			client, target := r.connect(t)
			mustWrite(t, target, "welcome")
			wantRead(t, client, "welcome")
			mustWrite(t, client, first)
			wantRead(t, target, first)
			mustWrite(t, client, header1[:1]+"something else")
			_ = client.CloseWrite()
			rest, err := io.ReadAll(target)
			if string(rest) != header1[:1]+"something else" || err != nil {
				t.Errorf("after %q came %q, error %v", first, rest, err)
			}
			mustWrite(t, target, "goodbye")
			_ = target.CloseWrite()
			wantRead(t, client, "goodbye")
			wantReadError(t, client, io.EOF)
			closeAll(client, target)
			_ = r.stop(t, time.Minute)
			wantEvents(t, r, "accepted", "opened", "closed eof")
		})
	}
}

// Those behind a balancer are counted by where they are, and the balancer is not; one that says nothing about a client is.
func TestMaxConnsPerIPGoesByTheHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := startFrom(t, balancer, &Server{MaxConnsPerIP: 1, CloseTimeout: time.Minute, HandshakeTimeout: time.Minute})
		var open []net.Conn
		dial := func(header string) net.Conn {
			client, err := r.front.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, client, header)
			open = append(open, client)
			return client
		}
		for _, from := range []string{"203.0.113.1", "203.0.113.2", "203.0.113.3"} {
			dial("PROXY TCP4 " + from + " 198.51.100.99 1 2\r\n")
			open = append(open, r.accept(t))
		}
		dial(local2)
		open = append(open, r.accept(t))
		before := len(r.journal.all())
		for _, header := range []string{"PROXY TCP4 203.0.113.2 198.51.100.99 3 4\r\n", "PROXY TCP6 ::ffff:203.0.113.3 ::1 1 2\r\n", local2} {
			wantReadError(t, dial(header), syscall.ECONNRESET)
			synctest.Wait()
		}
		refused := []string{"accepted", "failed limit too_many_from_source", "closed too_many_from_source"}
		if got := r.journal.all()[before:]; !slices.Equal(got, slices.Concat(refused, refused, refused)) {
			t.Errorf("events %q", got)
		}
		closeAll(open...)
		_ = r.stop(t, time.Minute)
		wantNothingHeld(t, r)
	})
}

// What the system tells of a socket, and what ends it, is found although a header came first.
func TestAHeaderLeavesTheSocketAsItIs(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			r := startKernel(t, network, &Server{HeaderFrom: func(net.Addr) bool { return true }, CloseTimeout: time.Minute})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client, err := new(net.Dialer).DialContext(ctx, network, r.front.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, client, header2+"question")
			target, err := r.back.Accept()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range r.server.inHand() {
				switch c.client.Conn.(type) {
				case *net.TCPConn, *net.UnixConn:
				default:
					t.Errorf("the client's side is a %T", c.client.Conn)
				}
			}
			closeWrite(client)
			question, err := io.ReadAll(target)
			if string(question) != "question" || err != nil {
				t.Errorf("%q, error %v", question, err)
			}
			mustWrite(t, target, "answer")
			closeWrite(target)
			answer, err := io.ReadAll(client)
			if string(answer) != "answer" || err != nil {
				t.Errorf("%q, error %v", answer, err)
			}
			closeAll(client, target)
			if last := r.stop(t); last != "closed eof" {
				t.Errorf("the last event is %q", last)
			}
		})
	}
}
