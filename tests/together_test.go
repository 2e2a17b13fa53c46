package tests

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"
)

// What a client of PostgreSQL says first, and what a server that lets it in says.
const (
	sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	startup    = "\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"
	letIn      = "R\x00\x00\x00\x08\x00\x00\x00\x00"
)

// overPostgres makes a handler's connections TLS as PostgreSQL's server does,
// and starts a session.
func overPostgres(config *tls.Config, handle func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		if err := hear(conn, sslRequest); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "S")
		overTLS(config, func(conn net.Conn) {
			if err := hear(conn, startup); err == nil {
				_, _ = io.WriteString(conn, letIn)
				handle(conn)
			}
		})(conn)
	}
}

// hear reads what has to come next.
func hear(conn net.Conn, want string) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != want {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// TestSTARTTLSBetweenPROXYHeaders has a proxy in front send its header together
// with what the protocol begins with, and the target get one before anything of
// the protocol.
func TestSTARTTLSBetweenPROXYHeaders(t *testing.T) {
	t.Parallel()
	for protocol, test := range map[string]struct{ says, hears, greets string }{
		"postgres": {sslRequest, "S", ""},
		"smtp":     {"EHLO c\r\nSTARTTLS\r\n", "220 [198.51.100.99] ESMTP\r\n250-[198.51.100.99]\r\n250 STARTTLS\r\n220 2.0.0 Ready to start TLS\r\n", "220 target ESMTP\r\n"},
		"ldap":     {"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", "\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20037", ""},
	} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			announced := make(chan string, 1)
			service := serve(t, "tcp", func(conn net.Conn) {
				in := bufio.NewReader(conn)
				h, err := proxyproto.Read(in)
				if err != nil {
					announced <- err.Error()
					return
				}
				announced <- h.SourceAddr.String()
				_, _ = io.WriteString(conn, test.greets)
				_, _ = io.Copy(conn, in)
				_ = conn.(halfCloser).CloseWrite()
			})
			server := startServer(t, p, listen, service.address, "--starttls", protocol, "--allow-cn", "client",
				"--proxy-protocol-in", "127.0.0.1", "--proxy-protocol-mode", "tls-full")
			conn := dial(t, "tcp", listen)
			if _, err := io.WriteString(conn, header2+test.says); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(test.hears))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != test.hears {
				t.Fatalf("%q, %v", got, err)
			}
			session := tls.Client(conn, p.clientConfig(p.client(t)))
			if err := exchange(session, 1, 100_000, 1000); err != nil {
				t.Error(err)
			}
			if got := receive(t, "the header", announced); got != "203.0.113.7:54321" {
				t.Errorf("the target was told of %s", got)
			}
			server.waitLine(t, "closed pipe", "remote=203.0.113.7:54321", "reason=eof")
			server.stop(t)
		})
	}
}

// TestSTARTTLSThroughAnUpstreamProxy, both of which speak before TLS.
func TestSTARTTLSThroughAnUpstreamProxy(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", overPostgres(p.targetConfig(p.server(t)), echo))
	at := startTinyproxy(t, "")
	client := startClient(t, p, listen, service.address, "--starttls", "postgres", "--proxy", "http://"+at, "--proxy-protocol-in", "127.0.0.1")
	conn := dial(t, "tcp", listen)
	if _, err := io.WriteString(conn, header2+sslRequest+startup); err != nil {
		t.Fatal(err)
	}
	if err := hear(conn, "N"+letIn); err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, 1, 100_000, 1000); err != nil {
		t.Error(err)
	}
	client.waitLine(t, "closed pipe", "remote=203.0.113.7:54321", "target="+service.address, "reason=eof")
	client.stop(t)
}

// TestActivatedUNIXSocketTakesHeaders from a proxy that sends them.
func TestActivatedUNIXSocketTakesHeaders(t *testing.T) {
	t.Parallel()
	need(t, "systemd-socket-activate")
	p := newPKI(t)
	web := handed{"web", filepath.Join(t.TempDir(), "s")}
	args := serverLine(t, p, "systemd:web", serve(t, "tcp", echo).address, "--allow-all", "--proxy-protocol-in", "unix", "--max-conns-per-ip", "1")
	process := startActivated(t, []handed{web}, args...)
	first := dial(t, "unix", web.address)
	if _, err := io.WriteString(first, header2); err != nil {
		t.Fatal(err)
	}
	session := tls.Client(first, p.clientConfig(p.client(t)))
	if err := roundTrip(session); err != nil {
		t.Fatal(err)
	}
	second := dial(t, "unix", web.address)
	if _, err := io.WriteString(second, header2); err != nil {
		t.Fatal(err)
	}
	if n, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("one more than may be was answered with %d bytes", n)
	}
	process.waitLine(t, "too_many_from_source", "remote=203.0.113.7:54321")
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	process.signal(t, syscall.SIGTERM)
	if code := process.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestDrainWaitsInNoStage has connections that went no further than each stage
// before forwarding, in which they might stay for an hour.
func TestDrainWaitsInNoStage(t *testing.T) {
	p := newPKI(t)
	silent := serve(t, "tcp", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	full := serve(t, "tcp", func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	for name, test := range map[string]struct {
		mode, target string
		args         []string
		says         []string
	}{
		"before TLS with the client": {"server", silent.address, []string{"--starttls", "smtp", "--proxy-protocol-in", "127.0.0.1"},
			[]string{"", header2[:20], header2, header2 + "EHLO c\r\n", header2 + "STARTTLS\r\n", header2 + "STARTTLS\r\n\x16\x03"}},
		"before TLS with the target":    {"client", "localhost:25", []string{"--starttls", "smtp", "--proxy", "http://" + full.address}, []string{"", "EHLO c\r\n"}},
		"a greeting that does not come": {"client", silent.address, []string{"--starttls", "mysql"}, []string{""}},
		"a client that does not answer": {"client", serve(t, "tcp", overPostgres(p.targetConfig(p.server(t)), echo)).address, []string{"--starttls", "postgres"}, []string{"", sslRequest, startup[:9]}},
		"a target that does not answer": {"client", serve(t, "tcp", func(conn net.Conn) {
			if err := hear(conn, sslRequest); err == nil {
				_, _ = io.WriteString(conn, "S")
				overTLS(p.targetConfig(p.server(t)), func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })(conn)
			}
		}).address, []string{"--starttls", "postgres"}, []string{startup}},
	} {
		t.Run(name, func(t *testing.T) { // one after another, since each writes the same files anew
			listen := reserve(t)
			args := append(test.args, "--connect-timeout", "1h", "--log-level", "debug")
			var process *process
			if test.mode == "server" {
				process = startServer(t, p, listen, test.target, append(args, "--allow-all")...)
			} else {
				process = startClient(t, p, listen, test.target, args...)
			}
			for _, said := range test.says {
				conn := dial(t, "tcp", listen)
				if _, err := io.WriteString(conn, said); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all are in hand", func() bool {
				return len(process.status.connections(t, "").Connections) == len(test.says)
			})
			process.stop(t)
			if n := len(process.lines("reason=shutdown")); n != len(test.says) {
				t.Errorf("%d of %d ended by the drain:\n%s", n, len(test.says), strings.Join(process.lines("reason"), "\n"))
			}
		})
	}
}

// TestResumedSessionIsJudgedByItsOwnHeader has a client resume behind another
// address than the one that the policy let it in from.
func TestResumedSessionIsJudgedByItsOwnHeader(t *testing.T) {
	t.Parallel()
	p, listen, policy := newPKI(t), reserve(t), filepath.Join(t.TempDir(), "p.rego")
	writeFile(t, policy, []byte("package access\nallow { input.remote_ip == \"203.0.113.7\" }\n"))
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--proxy-protocol-in", "127.0.0.1",
		"--allow-policy", policy, "--allow-query", "data.access.allow")
	config := p.clientConfig(p.client(t))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config.MaxVersion = version
		visit := func(header string) (resumed bool, _ error) {
			conn := dial(t, "tcp", listen)
			if _, err := io.WriteString(conn, header); err != nil {
				t.Fatal(err)
			}
			session := tls.Client(conn, config)
			err := roundTrip(session)
			return session.ConnectionState().DidResume, errors.Join(err, session.Close())
		}
		if _, err := visit(header2); err != nil {
			t.Fatal(err)
		}
		if resumed, err := visit(header2); err != nil || !resumed {
			t.Errorf("from the same address: resumed %t, %v", resumed, err)
		}
		before := service.connections()
		if _, err := visit("PROXY TCP4 203.0.113.8 198.51.100.99 54321 8443\r\n"); err == nil {
			t.Error("a resumed session was let in from elsewhere")
		}
		if n := service.connections(); n != before {
			t.Errorf("the target had %d connections more", n-before)
		}
		server.waitLine(t, "policy_denied", "remote=203.0.113.8:54321")
	}
	server.stop(t)
}
