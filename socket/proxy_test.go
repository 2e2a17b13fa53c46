package socket

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// scripted is a proxy that says what it is told to, whatever it is asked.
type scripted struct {
	conn net.Conn
}

// script makes a Proxy of one that writes reply and, if it is to, ends there.
func script(t *testing.T, p Proxy, reply string, end bool) (*Proxy, *scripted) {
	t.Helper()
	near, far := memnet.Pipe(1 << 16)
	s := &scripted{conn: far}
	p.Name = "test://proxy"
	p.Dial = func(context.Context) (net.Conn, error) { return near, nil }
	if _, err := io.WriteString(far, reply); err != nil {
		t.Fatal(err)
	}
	if end {
		if err := far.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	return &p, s
}

// all reads what the proxy was told. The other end is closed by then.
func (s *scripted) all(t *testing.T) string {
	t.Helper()
	data, err := io.ReadAll(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func alice() (user, password string) { return "alice", "pass:word" }

// reasonOf is the reason of an error, or "" for none.
func reasonOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	failure, ok := errors.AsType[*ProxyError](err)
	if !ok {
		t.Fatalf("%v is a %T", err, err)
	}
	return failure.Reason()
}

func TestHTTPProxyIsAskedForTheTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"db.example:5432":    "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n",
		"192.0.2.1:443":      "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n",
		"[2001:db8::1]:8443": "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n",
	} {
		for _, who := range []struct {
			credentials func() (string, string)
			told        bool
		}{{nil, false}, {alice, true}, {func() (string, string) { return "", "" }, false}} {
			p, far := script(t, Proxy{Protocol: HTTPConnect, Credentials: who.credentials}, "HTTP/1.1 200 OK\r\n\r\n", false)
			conn, err := p.Dialer(parse(t, target))(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.RemoteAddr(); got.String() != target || got.Network() != "tcp" {
				t.Errorf("the peer is %s %s, want tcp %s", got.Network(), got, target)
			}
			_ = conn.Close()
			full := want
			if who.told {
				full += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice:pass:word")) + "\r\n"
			}
			if got := far.all(t); got != full+"\r\n" {
				t.Errorf("asked %q, want %q", got, full+"\r\n")
			}
		}
	}
}

func TestSOCKSProxyIsAskedForTheTarget(t *testing.T) {
	t.Parallel()
	const agreed = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	for target, want := range map[string]string{
		"db.example:258":   "\x05\x01\x00\x03\x0adb.example\x01\x02",
		"192.0.2.1:443":    "\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb",
		"[2001:db8::1]:80": "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50",
	} {
		for _, test := range []struct {
			name, reply, want string
			who               func() (string, string)
		}{
			{"nobody", "\x05\x00", "\x05\x01\x00", nil},
			{"alice, who is not asked", "\x05\x00", "\x05\x02\x00\x02", alice},
			{"alice", "\x05\x02\x01\x00", "\x05\x02\x00\x02\x01\x05alice\x09pass:word", alice},
		} {
			p, far := script(t, Proxy{Protocol: SOCKS5, Credentials: test.who}, test.reply+agreed, false)
			conn, err := p.Dialer(parse(t, target))(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			if got := far.all(t); got != test.want+want {
				t.Errorf("%s, %s: asked %q, want %q", target, test.name, got, test.want+want)
			}
		}
	}
}

// TestNothingBehindTheAnswerIsLost has the target speak first, in one piece with
// the answer.
func TestNothingBehindTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		protocol ProxyProtocol
		answer   string
	}{
		{HTTPConnect, "HTTP/1.1 200 Connection established\r\n\r\n"},
		{HTTPConnect, "HTTP/1.0 200\n\n"},
		{HTTPConnect, "HTTP/1.1 299 fine\r\nVia: 1.1 p\n\r\n"},
		{HTTPConnect, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{HTTPConnect, "HTTP/1.1 200 OK\r\nno header at all\r\n\r\n"},
		{HTTPConnect, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
		{SOCKS5, "\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"},
		{SOCKS5, "\x05\x00\x05\x00\x00\x03\x01p\x00\x50"},
		{SOCKS5, "\x05\x00\x05\x00\x00\x03\x00\x00\x50"},
		{SOCKS5, "\x05\x00\x05\x00\x00\x04\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x00\x50"},
	} {
		for _, greeting := range []string{"", "\r", "\n", "\r\n\r\n", "220 mail.example ESMTP\r\n", strings.Repeat("\x00", 40<<10)} {
			p, far := script(t, Proxy{Protocol: test.protocol}, test.answer+greeting, true)
			conn, err := p.Dialer(parse(t, "mail.example:25"))(t.Context())
			if err != nil {
				t.Errorf("%q: %v", test.answer, err)
				continue
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != greeting {
				t.Errorf("%q: then %.40q, %v; want %.40q", test.answer, got, err, greeting)
			}
			if _, err := io.WriteString(conn, "QUIT"); err != nil {
				t.Error(err)
			}
			if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			if got := far.all(t); !strings.HasSuffix(got, "QUIT") {
				t.Errorf("the target got %q", got)
			}
		}
	}
}

// TestProxiesThatDoNotConnect has every way in which a proxy can fail to.
func TestProxiesThatDoNotConnect(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	tests := []struct {
		protocol      ProxyProtocol
		who           func() (string, string)
		answer        string
		reason, wants string
	}{
		{HTTPConnect, nil, "HTTP/1.1 403 Forbidden\r\n\r\n", "proxy_refused", "403 Forbidden; the rules of the proxy"},
		{HTTPConnect, nil, "HTTP/1.1 405 \r\n\r\n", "proxy_refused", "405; it may be no proxy"},
		{HTTPConnect, nil, "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", "proxy_refused", "301 Moved"},
		{HTTPConnect, nil, "HTTP/1.1 403 a\x1b[31m" + long + "\r\n\r\n", "proxy_refused", "403 a\ufffd[31mxxx"},
		{HTTPConnect, nil, "HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy_bad_gateway", "502 Bad Gateway; the proxy cannot reach the target"},
		{HTTPConnect, nil, "HTTP/1.1 503\r\n\r\n", "proxy_bad_gateway", "503"},
		{HTTPConnect, nil, "HTTP/1.0 504 Gateway Timeout\r\n\r\n", "proxy_bad_gateway", "504"},
		{HTTPConnect, nil, "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "proxy_auth", "--proxy-auth-file"},
		{HTTPConnect, alice, "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest x\r\nproxy-authenticate: basic\r\n\r\n", "proxy_auth", "does not take this user with this password"},
		{HTTPConnect, alice, "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n", "proxy_auth", "the proxy takes Negotiate, NTLM, and"},
		{HTTPConnect, alice, "HTTP/1.0 401 Unauthorized\r\n\r\n", "proxy_auth", "401 Unauthorized; the proxy does not take this user"},
		{HTTPConnect, nil, "HTTP/1.1 101 Switching\r\n\r\n", "proxy_refused", "101 Switching"},
		{HTTPConnect, nil, "SSH-2.0-OpenSSH_9.2\r\n", "proxy_error", "not HTTP/1 but \"SSH-2.0"},
		{HTTPConnect, nil, "\x15\x03\x01\x00\x02\x02\x46", "proxy_error", "it may want https://"},
		{HTTPConnect, nil, "\x05\xff", "proxy_error", "not HTTP/1"},
		{HTTPConnect, nil, "HTTP/2 200 OK\r\n\r\n", "proxy_error", "not HTTP/1"},
		{HTTPConnect, nil, "HTTP/1.1 2000 OK\r\n\r\n", "proxy_error", "no status line"},
		{HTTPConnect, nil, "HTTP/1.1 +20 OK\r\n\r\n", "proxy_error", "no status line"},
		{HTTPConnect, nil, "HTTP/1.1 099 OK\r\n\r\n", "proxy_error", "no status line"},
		{HTTPConnect, nil, "HTTP/1.x 200 OK\r\n\r\n", "proxy_error", "no status line"},
		{HTTPConnect, nil, "HTTP/1.1  \r\n\r\n", "proxy_error", "no status line"},
		{HTTPConnect, nil, "", "proxy_error", "closed the connection without an answer"},
		{HTTPConnect, nil, "HTTP/1.1 200 OK\r\nVia: p\r\n", "proxy_error", "in the middle of its answer"},
		{HTTPConnect, nil, "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 10_000), "proxy_error", "does not end within 8192 bytes"},
		{HTTPConnect, nil, "HTTP/1.1 200 " + strings.Repeat("a", 1<<15), "proxy_error", "does not end within"},
		{HTTPConnect, nil, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000), "proxy_error", "does not end within"},

		{SOCKS5, nil, "\x05\xff", "proxy_auth", "--proxy-auth-file"},
		{SOCKS5, alice, "\x05\xff", "proxy_auth", "in another way than"},
		{SOCKS5, alice, "\x05\x02\x01\x01", "proxy_auth", "does not take this user"},
		{SOCKS5, alice, "\x05\x02\x05\x00", "proxy_error", "version 5"},
		{SOCKS5, nil, "\x05\x02\x01\x00", "proxy_error", "method 2, which was not offered"},
		{SOCKS5, alice, "\x05\x01", "proxy_error", "method 1, which was not offered"},
		{SOCKS5, nil, "\x04\x00", "proxy_error", "not SOCKS 5 but begins with byte 4"},
		{SOCKS5, nil, "HTTP/1.1 400 Bad Request\r\n\r\n", "proxy_error", "write http://"},
		{SOCKS5, nil, "", "proxy_error", "without an answer"},
		{SOCKS5, nil, "\x05", "proxy_error", "in the middle of its answer"},
		{SOCKS5, nil, "\x05\x00", "proxy_error", "without an answer"},
		{SOCKS5, alice, "\x05\x02", "proxy_error", "without an answer"},
		{SOCKS5, nil, "\x05\x00\x05\x00", "proxy_error", "in the middle"},
		{SOCKS5, nil, "\x05\x00\x05\x00\x00\x03\x09half", "proxy_error", "in the middle"},
		{SOCKS5, nil, "\x05\x00\x04\x00\x00\x01\x00\x00\x00\x00\x00\x00", "proxy_error", "begins with byte 4"},
		{SOCKS5, nil, "\x05\x00\x05\x00\x00\x02\x00\x00\x00\x00\x00\x00", "proxy_error", "kind 2"},
		{SOCKS5, nil, "\x05\x00\x05\x01", "proxy_bad_gateway", "general failure"},
		{SOCKS5, nil, "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", "proxy_refused", "rules"},
		{SOCKS5, nil, "\x05\x00\x05\x03", "proxy_bad_gateway", "network unreachable"},
		{SOCKS5, nil, "\x05\x00\x05\x04", "proxy_bad_gateway", "does not know its name"},
		{SOCKS5, nil, "\x05\x00\x05\x05", "proxy_bad_gateway", "refuses the proxy's connection"},
		{SOCKS5, nil, "\x05\x00\x05\x06", "proxy_bad_gateway", "does not answer"},
		{SOCKS5, nil, "\x05\x00\x05\x07", "proxy_refused", "does not do CONNECT"},
		{SOCKS5, nil, "\x05\x00\x05\x08", "proxy_refused", "kind of address"},
		{SOCKS5, nil, "\x05\x00\x05\x63", "proxy_error", "code 99"},
	}
	for _, test := range tests {
		p, far := script(t, Proxy{Protocol: test.protocol, Credentials: test.who}, test.answer, true)
		conn, err := p.Dialer(parse(t, "db.example:5432"))(t.Context())
		if conn != nil || reasonOf(t, err) != test.reason {
			t.Errorf("%.40q: %v with reason %q, want %q", test.answer, err, reasonOf(t, err), test.reason)
			continue
		}
		text := err.Error()
		if !strings.HasPrefix(text, "proxy test://proxy: "+string(test.protocol)+" db.example:5432: ") || !strings.Contains(text, test.wants) ||
			len(text) > 400 || strings.ContainsFunc(text, isControl) || strings.Contains(text, "pass:word") {
			t.Errorf("%.40q: %q, want %q in it", test.answer, text, test.wants)
		}
		if !slices.Contains(ProxyReasons(), test.reason) {
			t.Errorf("%s is not among the reasons", test.reason)
		}
		_, _ = io.Copy(io.Discard, far.conn) // which ends, for the connection was closed
	}
}

func TestProxyThatCannotBeReached(t *testing.T) {
	t.Parallel()
	p := &Proxy{Name: "http://p:1", Dial: Dialer(freePort(t, "127.0.0.1"), 0)}
	_, err := p.Dialer(parse(t, "db.example:5432"))(t.Context())
	if reasonOf(t, err) != "proxy_unreachable" || !strings.HasPrefix(err.Error(), "proxy http://p:1: cannot be reached: dial tcp 127.0.0.1:") {
		t.Error(err)
	}
}

func TestHandshakeWithTheProxyThatFails(t *testing.T) {
	t.Parallel()
	p, far := script(t, Proxy{Protocol: HTTPConnect}, "", false)
	p.Secure = func(context.Context, net.Conn) (net.Conn, error) { return nil, errors.New("not for this name") }
	_, err := p.Dialer(parse(t, "db.example:5432"))(t.Context())
	if reasonOf(t, err) != "proxy_tls" || err.Error() != "proxy test://proxy: TLS handshake with the proxy: not for this name" {
		t.Error(err)
	}
	if got := far.all(t); got != "" {
		t.Errorf("the proxy was told %q", got)
	}
}

// TestProxyThatTakesItsTime is silent, or never comes to an end. When the time is
// up, nobody waits for it any more, and the connection is closed.
func TestProxyThatTakesItsTime(t *testing.T) {
	t.Parallel()
	const limit = 3 * time.Second
	for _, test := range []struct {
		protocol ProxyProtocol
		dribbles string
	}{
		{HTTPConnect, ""},
		{HTTPConnect, "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 100)},
		{SOCKS5, ""},
		{SOCKS5, "\x05\x00\x05\x00\x00\x03\xff" + strings.Repeat("x", 255)},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, far := script(t, Proxy{Protocol: test.protocol}, "", false)
			var dribbling sync.WaitGroup
			dribbling.Go(func() {
				for _, c := range []byte(test.dribbles) {
					time.Sleep(100 * time.Millisecond)
					if _, err := far.conn.Write([]byte{c}); err != nil {
						return // nobody listens any more
					}
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			started := time.Now()
			_, err := p.Dialer(parse(t, "db.example:5432"))(ctx)
			if took := time.Since(started); took != limit {
				t.Errorf("took %v, want %v", took, limit)
			}
			if reasonOf(t, err) != "timeout" || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no complete answer in time") {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, far.conn) // which ends, for the connection was closed
			dribbling.Wait()
		})
	}
}

// TestProxyThatIsGoneBeforeItIsAsked, at each thing that it would be told.
func TestProxyThatIsGoneBeforeItIsAsked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		protocol ProxyProtocol
		answer   string
		who      func() (string, string)
	}{
		{HTTPConnect, "", nil},
		{SOCKS5, "", nil},
		{SOCKS5, "\x05\x00", nil},
		{SOCKS5, "\x05\x02", alice},
	} {
		p, far := script(t, Proxy{Protocol: test.protocol, Credentials: test.who}, test.answer, false)
		p.Secure = func(_ context.Context, conn net.Conn) (net.Conn, error) {
			return &leaving{Conn: conn, far: far.conn, after: len(test.answer) / 2}, nil
		}
		_, err := p.Dialer(parse(t, "db.example:5432"))(t.Context())
		if reasonOf(t, err) != "proxy_error" || !strings.Contains(err.Error(), errGone.Error()) || strings.Contains(err.Error(), "pass:word") {
			t.Errorf("%s after %q: %v", test.protocol, test.answer, err)
		}
	}
}

// leaving is a connection whose other end goes away after so many writes.
type leaving struct {
	net.Conn

	far   net.Conn
	after int
}

var errGone = errors.New("gone")

func (l *leaving) Write(p []byte) (int, error) {
	if l.after == 0 {
		return 0, errors.Join(errGone, l.far.Close())
	}
	l.after--
	return l.Conn.Write(p)
}

func TestHandshakeWithTheProxyThatTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := script(t, Proxy{Protocol: HTTPConnect}, "", false)
		p.Secure = func(ctx context.Context, _ net.Conn) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Dialer(parse(t, "db.example:5432"))(ctx)
		if reasonOf(t, err) != "timeout" || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "TLS handshake with the proxy: not over in time") {
			t.Error(err)
		}
	})
}

// TestConnectionThroughAProxyIsItsSocket, under whatever TLS there is with the
// proxy: deadlines, the socket's own methods and the end of writing reach it.
func TestConnectionThroughAProxyIsItsSocket(t *testing.T) {
	t.Parallel()
	p, _ := script(t, Proxy{Protocol: HTTPConnect}, "HTTP/1.1 200 OK\r\n\r\n", false)
	var socket net.Conn
	p.Secure = func(_ context.Context, conn net.Conn) (net.Conn, error) {
		socket = conn
		return deaf{struct{ net.Conn }{conn}}, nil // which has no end of writing either
	}
	conn, err := p.Dialer(parse(t, "db.example:5432"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.(interface{ NetConn() net.Conn }).NetConn(); got != socket {
		t.Errorf("its socket is %v, want %v", got, socket)
	}
	past := time.Unix(1, 0)
	for name, set := range map[string]func(time.Time) error{
		"SetDeadline": conn.SetDeadline, "SetReadDeadline": conn.SetReadDeadline,
	} {
		if err := set(past); err != nil {
			t.Error(err)
		}
		if _, err := socket.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: a read of the socket ends with %v", name, err)
		}
		if err := set(time.Time{}); err != nil {
			t.Error(err)
		}
	}
	if err := conn.SetWriteDeadline(past); err != nil {
		t.Error(err)
	}
	if _, err := socket.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("SetWriteDeadline: a write to the socket ends with %v", err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the end of writing, where the session has none: %v", err)
	}
}

// deaf is a session that does nothing about deadlines.
type deaf struct{ net.Conn }

func (deaf) SetDeadline(time.Time) error      { return nil }
func (deaf) SetReadDeadline(time.Time) error  { return nil }
func (deaf) SetWriteDeadline(time.Time) error { return nil }

// TestTimeIsUpOnceTheConnectionStands: a context that ends later is none of its
// business.
func TestTimeIsUpOnceTheConnectionStands(t *testing.T) {
	t.Parallel()
	p, far := script(t, Proxy{Protocol: HTTPConnect}, "HTTP/1.1 200 OK\r\n\r\n", false)
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := p.Dialer(parse(t, "db.example:5432"))(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := fmt.Fprint(far.conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}

func TestCheckCredentials(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		user, password string
		good           bool
	}{
		{"alice", "a:b c", true},
		{"alice", "", true},
		{long[1:], long[1:], true},
		{"", "x", false},
		{"a:b", "x", false},
		{"alice", "a\nb", false},
		{"a\x00", "b", false},
		{long, "b", false},
		{"alice", long, false},
	} {
		err := CheckCredentials(test.user, test.password)
		if (err == nil) != test.good {
			t.Errorf("%.20q with %.20q: %v", test.user, test.password, err)
		}
	}
}

// FuzzHTTPReply reads nothing behind the answer, whatever it is, and agrees to no
// more than a 2xx.
func FuzzHTTPReply(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\nrest", "HTTP/1.0 200\n\n\n", "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "SSH-2.0", "HTTP/1.1 \r\n\r\n", "HTTP/1.1 299 \n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		from := strings.NewReader(string(data))
		r, err := readReply(from)
		if err != nil {
			return
		}
		read := string(data[:len(data)-from.Len()])
		if !strings.HasSuffix(read, "\n\n") && !strings.HasSuffix(read, "\n\r\n") || len(read) > maxReply {
			t.Errorf("read %q", read)
		}
		// The last header that was read is the answer; the others were interim.
		flat := strings.ReplaceAll(read, "\r\n", "\n")
		answers := strings.Split(strings.TrimSuffix(flat, "\n\n"), "\n\n")
		if last := answers[len(answers)-1]; r.judge(false) == nil != strings.HasPrefix(last[len("HTTP/1."):][1:], " 2") {
			t.Errorf("%q is %d", last, r.status)
		}
	})
}

// FuzzSOCKSReply reads nothing behind the answer, whatever it is.
func FuzzSOCKSReply(f *testing.F) {
	for _, seed := range []string{
		"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50rest", "\x05\x02\x01\x00\x05\x00\x00\x03\x01p\x00\x50", "\x05\x02\x01\x01", "\x05\xff",
		"\x05\x00\x05\x00\x00\x04\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x00\x50", "\x05\x00\x05\x05", "HTTP/1.1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		from := strings.NewReader(string(data))
		conn := struct {
			io.Reader
			io.Writer
		}{from, io.Discard}
		if err := askSOCKS5(conn, Address{network: networkTCP, host: "db.example", port: 1}, "alice", "x"); err != nil {
			return
		}
		rest := data[2:]
		if data[1] == socksPassword {
			rest = rest[2:]
		}
		size := map[byte]int{socksIPv4: 4, socksIPv6: 16}[rest[3]]
		if rest[3] == socksName {
			size = 1 + int(rest[4])
		}
		if want := len(rest) - 4 - size - 2; rest[1] != socksSucceeded || from.Len() != want {
			t.Errorf("%d bytes are left of %q, want %d", from.Len(), data, want)
		}
	})
}
