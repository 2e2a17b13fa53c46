package tests

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestStrangersBeforeTLSGetNowhere has clients of every protocol break it: each
// is gone when its time is over, and the target has heard of none.
func TestStrangersBeforeTLSGetNowhere(t *testing.T) {
	t.Parallel()
	hostile := map[string][]string{
		"postgres": {
			"\x00\x00\x00\x08\x04\xd2\x16\x2fQ\x00\x00\x00\x0dselect 1\x00", // behind an SSLRequest
			"\x00\x00\x00\x08\x04\xd2\x16",
			"\x7f\xff\xff\xff\x00\x03\x00\x00",
		},
		"mysql": {
			"\x20\x00\x00\x01" + strings.Repeat("\xff", 32) + "\x01\x00\x00\x00\x01", // COM_QUIT behind an SSLRequest
			"\xff\xff\xff\x01",
			"\x03\x00",
		},
		"ldap": {
			"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037\x30\x05\x02\x01\x02\x42\x00", // unbind behind StartTLS
			"\x30\x84\x7f\xff\xff\xff",
			"\x30\x82\x40\x00\x02",
		},
		"smtp": {
			"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<mallory@example.com>\r\n",
			strings.Repeat("A", 100_000),
			"EHLO c",
		},
	}
	for protocol, clients := range hostile {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			backend := serve(t, "tcp", echo)
			server := startServer(t, p, listen, backend.address, "--starttls", protocol, "--connect-timeout", "1s", "--allow-cn", "client", "--enable-pprof")
			before := server.status.goroutines(t)
			var conns []net.Conn
			for range 20 {
				for _, said := range append(clients, "") {
					conn := dial(t, "tcp", listen)
					_, _ = io.WriteString(conn, said) // it may be gone before it has heard all
					conns = append(conns, conn)
				}
			}
			began := time.Now()
			for _, conn := range conns {
				_, _ = io.Copy(io.Discard, conn) // until it is closed, or reset
			}
			if took := time.Since(began); took > patience {
				t.Errorf("the last was gone after %v", took)
			}
			if n := backend.connections(); n != 0 {
				t.Errorf("the target had %d connections", n)
			}
			eventually(t, "no more goroutines than before", func() bool { return server.status.goroutines(t) <= before })
			server.waitLine(t, "not_tls")
			server.waitLine(t, "timeout")
			server.stop(t)
		})
	}
}

// TestTargetsThatTakeTLSAwayAreErrors has targets say no, lie, and say nothing to
// client mode. No byte of the application's reaches one.
func TestTargetsThatTakeTLSAwayAreErrors(t *testing.T) {
	t.Parallel()
	const startup = "\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"
	for _, test := range []struct{ protocol, says, application, asked string }{
		{"postgres", "N", startup, "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
		{"postgres", "SR\x00\x00\x00\x08\x00\x00\x00\x00", startup, "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
		{"postgres", "E", startup, "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
		{"postgres", "", startup, "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
		{"ldap", "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00", "secret", "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"},
		{"smtp", "220 mail ESMTP\r\n250-mail\r\n250 SIZE 1\r\n", "EHLO secret\r\n", "EHLO [127.0.0.1]\r\n"},
		{"smtp", "220 mail ESMTP\r\n250-mail\r\n250 STARTTLS\r\n220 go\r\n250 mail\r\n", "EHLO secret\r\n", "EHLO [127.0.0.1]\r\nSTARTTLS\r\n"},
		{"mysql", "\x0f\x00\x00\x00\xff\x69\x04Host blocked", "secret", ""},
		{"mysql", "\xff\xff\xff\x00", "secret", ""},
	} {
		t.Run(test.protocol, func(t *testing.T) {
			t.Parallel()
			handle, received := record()
			target := serve(t, "tcp", func(conn net.Conn) {
				_, _ = io.WriteString(conn, test.says)
				handle(conn)
			})
			p, listen := newPKI(t), reserve(t)
			client := startClient(t, p, listen, target.address, "--starttls", test.protocol, "--connect-timeout", "1s")
			conn := dial(t, "tcp", listen)
			_, _ = io.WriteString(conn, test.application) // it may be closed before
			_, _ = io.Copy(io.Discard, conn)
			got := string(receive(t, "what the target was sent", received))
			rest, ok := strings.CutPrefix(got, test.asked)
			if !ok || rest != "" && rest[0] != 0x16 && rest[0] != 0x15 { // a record of TLS
				t.Errorf("the target was sent %q, want %q and no more than TLS", got, test.asked)
			}
			if strings.Contains(got, "secret") || strings.Contains(got, "user\x00a") {
				t.Errorf("the target was sent what the application said: %q", got)
			}
			client.stop(t)
		})
	}
}
