package webproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// agreeing is a target that goes over to another protocol, and then has serve speak it.
func agreeing(serve func(net.Conn, *bufio.Reader)) func(net.Conn) {
	return func(c net.Conn) {
		defer func() { _ = c.Close() }()
		in := bufio.NewReader(c)
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nMore: m\r\n\r\nhello", request.Header.Get("Upgrade"))
		serve(c, in)
	}
}

const upgradeRequest = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"

func TestUpgradedConnectionsAreStreams(t *testing.T) {
	t.Parallel()
	r := startRaw(t, &Proxy{CloseTimeout: time.Minute}, agreeing(func(c net.Conn, in *bufio.Reader) {
		_, _ = io.Copy(c, in)
		_, _ = io.WriteString(c, "bye")
	}))
	c := r.dial(nil)
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, upgradeRequest+"early ") // it does not wait
	in := bufio.NewReader(c)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Upgrade") != "websocket" || response.Header.Get("More") != "m" {
		t.Fatal(response, err)
	}
	sent := strings.Repeat("x", 1<<20)
	go func() {
		_, _ = io.WriteString(c, sent)
		_ = c.(*memnet.Conn).CloseWrite()
	}()
	got, err := io.ReadAll(in)
	if want := "helloearly " + sent + "bye"; err != nil || string(got) != want {
		t.Errorf("got %d bytes, want %d; %v", len(got), len(want), err)
	}
	r.stop()
	told := r.observed()
	if len(told) != 1 || told[0].Code != http.StatusSwitchingProtocols || told[0].BytesIn != 6+1<<20 || told[0].BytesOut != 5+6+1<<20+3 || told[0].Reason != "" {
		t.Errorf("told of %+v", told)
	}
}

func TestUpgradesThatAreNone(t *testing.T) {
	t.Parallel()
	var seen http.Header
	r := start(t, &Proxy{}, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header })
	for _, header := range []string{
		"Connection: Upgrade\r\nUpgrade: h2c\r\n",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"Upgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
	} {
		body := ""
		if strings.Contains(header, "Content-Length") {
			body = "x"
		}
		if response, _ := r.ask("POST / HTTP/1.1\r\nHost: a\r\n" + header + "\r\n" + body); response.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", header, response.Status)
		}
		if seen.Get("Connection")+seen.Get("Upgrade")+seen.Get("Http2-Settings") != "" {
			t.Errorf("%q: the target got %v", header, seen)
		}
	}
}

func TestATargetThatRefusesAnUpgradeIsHeard(t *testing.T) {
	t.Parallel()
	r := start(t, &Proxy{}, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	c := r.dial(nil)
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for range 2 { // it stays HTTP
		_, _ = io.WriteString(c, upgradeRequest)
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != http.StatusForbidden {
			t.Fatal(response, err)
		}
		if body, err := io.ReadAll(response.Body); string(body) != "no\n" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	}
}

func TestATargetThatSwitchesToSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	r := startRaw(t, &Proxy{}, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<10))
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		_ = c.Close()
	})
	if response, _ := r.ask(upgradeRequest); response.StatusCode != http.StatusBadGateway {
		t.Error(response.Status)
	}
}

func TestUpgradedConnectionsThatEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		timeout time.Duration
		target  func(net.Conn, *bufio.Reader)
		client  func(c net.Conn)
		clean   bool
		after   time.Duration
		reason  string
		cut     string
	}{
		{"the target half, and the client never", time.Minute, func(c net.Conn, _ *bufio.Reader) {
			_ = c.(*memnet.Conn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		}, func(net.Conn) {}, true, 0, reasonBroken, "expire"},
		{"the target by a reset", time.Minute, func(c net.Conn, _ *bufio.Reader) { c.(*memnet.Conn).Reset() }, func(net.Conn) {}, false, 0, reasonBroken, "abort"},
		{"the client by a reset", time.Minute, func(c net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) },
			func(c net.Conn) { c.(*memnet.Conn).Reset() }, false, 0, reasonClientGone, "drop"},
		{"the client before it has taken all", time.Minute, func(c net.Conn, in *bufio.Reader) {
			_, _ = in.ReadByte()
			_, _ = c.Write(make([]byte, 1<<20))
		}, func(c net.Conn) {
			_, _ = c.Write([]byte("x"))
			time.Sleep(time.Second)
			c.(*memnet.Conn).Reset()
		}, false, time.Second, reasonClientGone, "drop"},
		{"the client half, and the target never", time.Minute, func(c net.Conn, in *bufio.Reader) {
			_, _ = io.Copy(io.Discard, in)
			_, _ = c.Read(make([]byte, 1))
			time.Sleep(time.Hour)
		}, func(c net.Conn) { _ = c.(*memnet.Conn).CloseWrite() }, false, time.Minute, reasonBroken, "expire"},
		{"the client half, with no time left for the target", 0, func(c net.Conn, in *bufio.Reader) {
			_, _ = io.Copy(io.Discard, in)
			time.Sleep(time.Hour)
		}, func(c net.Conn) { _ = c.(*memnet.Conn).CloseWrite() }, false, 0, reasonBroken, "expire"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := startRaw(t, &Proxy{CloseTimeout: test.timeout}, agreeing(test.target))
				c := r.dial(nil)
				_, _ = io.WriteString(c, upgradeRequest)
				in := bufio.NewReader(c)
				if _, err := http.ReadResponse(in, nil); err != nil {
					t.Fatal(err)
				}
				hello := make([]byte, 5)
				_, _ = io.ReadFull(in, hello)
				began := time.Now()
				test.client(c)
				_, err := io.ReadAll(in)
				if (err == nil) != test.clean {
					t.Errorf("the client's end: %v", err)
				}
				if took := time.Since(began); took != test.after {
					t.Errorf("after %v, want %v", took, test.after)
				}
				time.Sleep(2 * time.Minute)
				_ = c.Close()
				r.stop()
				if told := r.observed(); len(told) != 1 || told[0].Reason != test.reason {
					t.Errorf("told of %+v", told)
				}
				if cuts := r.cutOffs(); len(cuts) != 1 || cuts[0] != test.cut {
					t.Errorf("the client was cut off by %q, want %s", cuts, test.cut)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// An end that is the tunnel's doing is not put down to the client: it closes the connection, or has whoever waits on it return
// first.
func TestUpgradedConnectionsThatTheTunnelEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rig, *memnet.Conn){
		"with the proxy":            func(r *rig, _ *memnet.Conn) { r.Close() },
		"by closing the connection": func(_ *rig, c *memnet.Conn) { _ = c.Close() },
		"by a deadline":             func(_ *rig, c *memnet.Conn) { _ = c.SetDeadline(time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRaw(t, &Proxy{CloseTimeout: time.Minute}, agreeing(func(c net.Conn, in *bufio.Reader) { _, _ = io.Copy(c, in) }))
			c, server := memnet.Pipe(64 << 10)
			defer func() { _ = c.Close() }()
			over := make(chan struct{})
			go func() {
				defer close(over)
				r.Handle(r.ctx, address{server, nil, r})
			}()
			_, _ = io.WriteString(c, upgradeRequest)
			in := bufio.NewReader(c)
			if _, err := http.ReadResponse(in, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(in, make([]byte, len("hello"))); err != nil {
				t.Fatal(err)
			}
			end(r, server)
			<-over
			r.stop()
			if told := r.observed(); len(told) != 1 || told[0].Reason != reasonBroken {
				t.Errorf("told of %+v", told)
			}
		})
	}
}

// deafTarget is a target's connection on which writes fail once it has left HTTP.
type deafTarget struct {
	*memnet.Conn
	err    error
	asked  bool
	failed chan struct{}
}

func (d *deafTarget) Write(p []byte) (int, error) {
	if !d.asked {
		d.asked = true
		return d.Conn.Write(p)
	}
	close(d.failed)
	return 0, &net.OpError{Op: "write", Net: "mem", Err: os.NewSyscallError("write", d.err)}
}

// What a target has sent before it went away is for the client, however slowly that takes it.
func TestTheLastWordsOfAnUpgradedTarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		size  int
		err   error
		clean bool
		cuts  []string
	}{
		{"closed", 1 << 20, syscall.EPIPE, true, nil}, // more than connections hold
		{"reset", 1 << 20, syscall.ECONNRESET, false, []string{"abort"}},
		{"closed, when all had been passed on", 1000, syscall.EPIPE, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				words := strings.Repeat("w", test.size)
				target := &deafTarget{err: test.err, failed: make(chan struct{})}
				r := startRaw(t, &Proxy{CloseTimeout: time.Minute}, agreeing(func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, words) }))
				dial := r.Dial
				r.Dial = func(ctx context.Context) (net.Conn, error) {
					c, err := dial(ctx)
					target.Conn = c.(*memnet.Conn)
					return target, err
				}
				c := r.dial(nil)
				_, _ = io.WriteString(c, upgradeRequest)
				in := bufio.NewReader(c)
				if _, err := http.ReadResponse(in, nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // what can be passed on has been
				_, _ = io.WriteString(c, "for nobody")
				<-target.failed
				synctest.Wait()
				got, err := io.ReadAll(in)
				if string(got) != "hello"+words || (err == nil) != test.clean {
					t.Errorf("got %d bytes, want %d; %v", len(got), len("hello")+len(words), err)
				}
				_ = c.Close()
				r.stop()
				if told := r.observed(); len(told) != 1 || told[0].Reason != reasonBroken || !errors.Is(told[0].Err, test.err) {
					t.Errorf("told of %+v", told)
				}
				if cuts := r.cutOffs(); !slices.Equal(cuts, test.cuts) {
					t.Errorf("the client was cut off by %q, want %q", cuts, test.cuts)
				}
			})
		})
	}
}
