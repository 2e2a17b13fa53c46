package tests

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

var bothVersions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// TestTargetIsRefusedOnceThePolicyDenies is client mode's part of
// TestPolicyThatTurnsRefusesResumedSessions: each connection is judged, whatever
// sessions are kept.
func TestTargetIsRefusedOnceThePolicyDenies(t *testing.T) {
	t.Parallel()
	const allow, deny = "package access\nallow = true\n", "package access\nallow = false\n"
	for name, version := range bothVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen, path := newPKI(t), reserve(t), policyFile(t, allow)
			config := p.targetConfig(p.server(t))
			config.MinVersion, config.MaxVersion = version, version
			var resumed, served atomic.Int32
			config.VerifyConnection = func(cs tls.ConnectionState) error {
				if cs.DidResume {
					resumed.Add(1)
				}
				return nil
			}
			service := serve(t, "tcp", overTLS(config, func(conn net.Conn) {
				if roundTripBack(conn) == nil {
					served.Add(1)
				}
			}))
			client := startClient(t, p, listen, service.address, "--no-watch-files", "--verify-policy", path, "--verify-query", policyQuery)
			reload := func(policy string, n int) {
				replaceFile(t, path, []byte(policy))
				client.signal(t, syscall.SIGHUP)
				client.waitLines(t, n, "msg=reloaded")
			}
			for range 3 {
				if err := through(t, listen); err != nil {
					t.Fatal(err)
				}
			}
			if n := resumed.Load(); n != 2 {
				t.Errorf("%d sessions were resumed, want 2", n)
			}
			reload(deny, 1)
			for range 3 {
				if n := heard(t, listen); n != 0 {
					t.Errorf("the local application was sent %d bytes", n)
				}
			}
			client.waitLines(t, 3, "error on TLS handshake", "reason=policy_denied")
			if n := served.Load(); n != 3 {
				t.Errorf("%d connections were served, want the 3 of before", n)
			}
			reload(allow, 2)
			if err := through(t, listen); err != nil {
				t.Errorf("after the policy turned back: %v", err)
			}
			client.stop(t)
		})
	}
}

// TestResumedSessionIsRefusedAfterItsDenial has a client come back with the ticket
// of better days.
func TestResumedSessionIsRefusedAfterItsDenial(t *testing.T) {
	t.Parallel()
	const allow, deny = "package access\nallow = true\n", "package access\nallow = false\n"
	for name, version := range bothVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen, path := newPKI(t), reserve(t), policyFile(t, allow)
			service := serve(t, "tcp", echo)
			server := startServer(t, p, listen, service.address, "--no-watch-files", "--allow-policy", path, "--allow-query", policyQuery)
			config := p.clientConfig(p.client(t))
			config.MinVersion, config.MaxVersion = version, version
			tickets := &keeping{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			config.ClientSessionCache = tickets
			reload := func(policy string, n int) {
				replaceFile(t, path, []byte(policy))
				server.signal(t, syscall.SIGHUP)
				server.waitLines(t, n, "msg=reloaded")
			}
			for _, want := range []bool{false, true} {
				if resumed, err := visit(t, listen, config); err != nil || resumed != want {
					t.Fatalf("resumed %t, %v; want %t", resumed, err, want)
				}
			}
			tickets.closed.Store(true) // it keeps the ticket that it has, whatever becomes of it
			reload(deny, 1)
			for range 3 {
				if _, err := visit(t, listen, config); err == nil {
					t.Error("let in by a ticket")
				}
			}
			server.waitLines(t, 3, "error on TLS handshake", "reason=policy_denied")
			if n := service.connections(); n != 2 {
				t.Errorf("the target has seen %d connections, want the 2 of before", n)
			}
			reload(allow, 2)
			if _, err := visit(t, listen, config); err != nil {
				t.Errorf("after the policy turned back: %v", err)
			}
			server.stop(t)
		})
	}
}

// keeping is a cache that, once closed, neither forgets nor learns.
type keeping struct {
	tls.ClientSessionCache

	closed atomic.Bool
}

func (k *keeping) Put(key string, state *tls.ClientSessionState) {
	if !k.closed.Load() {
		k.ClientSessionCache.Put(key, state)
	}
}

// withoutTLS13 takes the offer of TLS 1.3 out of a ClientHello, as somebody on the
// way might: the extension becomes one that nobody knows (RFC 8446, 4.2.1).
func withoutTLS13(n int, record []byte) []byte {
	if n > 0 {
		return record
	}
	return bytes.Replace(record, []byte{0, 43, 0, 5, 4, 3, 4}, []byte{0x5a, 43, 0, 5, 4, 3, 4}, 1)
}

// TestDowngradeInFlightIsNoticed by whoever offered more: the server's random
// number tells (RFC 8446, 4.1.3).
func TestDowngradeInFlightIsNoticed(t *testing.T) {
	t.Parallel()
	t.Run("server mode", func(t *testing.T) {
		t.Parallel()
		p, listen, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
		server := startServer(t, p, listen, service.address, "--allow-all")
		session := tls.Client(rewriting(withoutTLS13)(dial(t, "tcp", listen)), p.clientConfig(p.client(t)))
		if err := session.Handshake(); err == nil || !strings.Contains(err.Error(), "downgrade attempt") {
			t.Errorf("the client says %v", err)
		}
		server.waitLine(t, "error on TLS handshake", "reason=peer_alert")
		if n := service.connections(); n != 0 {
			t.Errorf("the target has seen %d connections", n)
		}
		server.stop(t)
	})
	t.Run("client mode", func(t *testing.T) {
		t.Parallel()
		p, listen := newPKI(t), reserve(t)
		config := p.targetConfig(p.server(t))
		received := make(chan []byte, 1)
		service := serve(t, "tcp", func(conn net.Conn) {
			header := make([]byte, recordHeaderBytes)
			_, _ = io.ReadFull(conn, header) // what is missing fails the handshake
			hello := make([]byte, binary.BigEndian.Uint16(header[3:]))
			_, _ = io.ReadFull(conn, hello)
			var got []byte
			changed := withoutTLS13(0, slices.Concat(header, hello))
			session := tls.Server(preceded{conn, io.MultiReader(bytes.NewReader(changed), conn)}, config)
			if session.Handshake() == nil {
				got, _ = io.ReadAll(session)
			}
			received <- got
		})
		client := startClient(t, p, listen, service.address)
		if n := heard(t, listen); n != 0 {
			t.Errorf("the local application was sent %d bytes", n)
		}
		client.waitLine(t, "error on TLS handshake", "downgrade attempt")
		if got := receive(t, "the end of the handshake", received); len(got) != 0 {
			t.Errorf("the target has seen %q", got)
		}
		client.stop(t)
	})
}

// preceded is a connection of which something else is read.
type preceded struct {
	net.Conn

	from io.Reader
}

func (p preceded) Read(b []byte) (int, error) { return p.from.Read(b) }

// openssl is a program of OpenSSL that can be told what to do by letters at the
// beginning of a line.
func openssl(t *testing.T, args ...string) (p *process, tell func(string)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), need(t, "openssl"), args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, cmd), func(line string) {
		t.Helper()
		if _, err := io.WriteString(stdin, line+"\n"); err != nil {
			t.Error(err)
		}
	}
}

// TestRenegotiationCutsTheConnection: TLS 1.2 alone has it, and nobody here needs
// it (RFC 9325, 3.5). OpenSSL asks for it.
func TestRenegotiationCutsTheConnection(t *testing.T) {
	t.Parallel()
	t.Run("server mode", func(t *testing.T) {
		t.Parallel()
		p, listen := newPKI(t), reserve(t)
		seen := make(chan string, 2)
		service := serve(t, "tcp", func(conn net.Conn) {
			for range 2 {
				got := make([]byte, 100)
				n, _ := conn.Read(got) // a reset is nothing
				seen <- string(got[:n])
			}
		})
		server := startServer(t, p, listen, service.address, "--allow-cn", "client")
		identity := p.client(t)
		peer, tell := openssl(t, "s_client", "-tls1_2", "-connect", listen, "-CAfile", p.root, "-cert", identity.cert, "-key", identity.key)
		peer.waitLine(t, "Verify return code: 0")
		tell("before")
		if got := receive(t, "what is sent before", seen); got != "before\n" {
			t.Errorf("the target has seen %q", got)
		}
		tell("R") // a command only when it comes by itself
		if got := receive(t, "the end", seen); got != "" {
			t.Errorf("the target has seen %q of a renegotiation", got)
		}
		server.waitLine(t, "closed pipe", "reason=client_bad_tls_message")
		server.stop(t)
	})
	t.Run("client mode", func(t *testing.T) {
		t.Parallel()
		p, listen, target := newPKI(t), reserve(t), reserve(t)
		identity := p.server(t)
		peer, tell := openssl(t, "s_server", "-tls1_2", "-accept", target, "-cert", identity.cert, "-key", identity.key, "-CAfile", p.root)
		peer.waitLine(t, "ACCEPT")
		client := startClient(t, p, listen, target)
		conn := dial(t, "tcp", listen)
		if _, err := io.WriteString(conn, "before\n"); err != nil {
			t.Fatal(err)
		}
		peer.waitLine(t, "before")
		tell("r")
		if got, err := io.ReadAll(conn); err == nil || len(got) != 0 {
			t.Errorf("the local application got %q, %v; want a reset", got, err)
		}
		client.waitLine(t, "closed pipe", "reason=target_error")
		client.stop(t)
	})
}

// TestHandshakeInClearAfterTheHandshakeCutsTheConnection: what is not encrypted is
// nobody's whom the tunnel knows.
func TestHandshakeInClearAfterTheHandshakeCutsTheConnection(t *testing.T) {
	t.Parallel()
	for name, version := range bothVersions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			handle, received := record()
			server := startServer(t, p, listen, serve(t, "tcp", handle).address, "--allow-all")
			config := p.clientConfig(p.client(t))
			config.MinVersion, config.MaxVersion = version, version
			under := dial(t, "tcp", listen)
			session := tls.Client(under, config)
			if _, err := io.WriteString(session, "before"); err != nil {
				t.Fatal(err)
			}
			if _, err := under.Write(helloOf(t, config)); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, "what the target has seen", received); string(got) != "before" {
				t.Errorf("the target has seen %q", got)
			}
			server.waitLine(t, "closed pipe", "reason=client_error")
			server.stop(t)
		})
	}
}
