package tests

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func TestOpenSSLHasToShareAProtocol(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--alpn", "postgresql", "--alpn", "h2", "--allow-cn", "client")
	identity := p.client(t)
	for _, test := range []struct {
		offer []string
		want  string
	}{
		{[]string{"-alpn", "postgresql"}, "ALPN protocol: postgresql"},
		{[]string{"-alpn", "h2,postgresql"}, "ALPN protocol: postgresql"}, // the server's order counts
		{[]string{"-alpn", "imap,h2"}, "ALPN protocol: h2"},
		{nil, "No ALPN negotiated"},
		{[]string{"-alpn", "imap"}, "no application protocol"},
	} {
		for _, version := range []string{"-tls1_3", "-tls1_2"} {
			args := append([]string{"s_client", version, "-connect", listen, "-CAfile", p.root, "-cert", identity.cert, "-key", identity.key}, test.offer...)
			cmd := exec.CommandContext(t.Context(), need(t, "openssl"), args...)
			cmd.Stdin = strings.NewReader("")
			if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), test.want) {
				t.Errorf("openssl s_client %s %s: no %q in\n%s", version, test.offer, test.want, out)
			}
		}
	}
	server.waitLines(t, 2, "no_shared_protocol", "imap")
	server.stop(t)
}

func TestClientModeHasToShareAProtocol(t *testing.T) {
	t.Parallel()
	p, at := newPKI(t), reserve(t)
	server := startServer(t, p, at, serve(t, "tcp", echo).address, "--alpn", "postgresql", "--allow-cn", "client")
	for protocol, shared := range map[string]bool{"postgresql": true, "imap": false} {
		listen := reserve(t)
		client := startClient(t, p, listen, at, "--alpn", protocol)
		conn := dial(t, "tcp", listen)
		if _, err := io.WriteString(conn, "hello"); err != nil && shared {
			t.Error(err)
		}
		if got := make([]byte, 5); shared {
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
			client.waitLine(t, "opening pipe", "alpn=postgresql")
		} else {
			client.waitLine(t, "no_shared_protocol")
			server.waitLine(t, "no_shared_protocol")
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		client.stop(t)
	}
	server.stop(t)
}

// TestPostgresIsReachedByTLSAtOnce is sslnegotiation=direct of PostgreSQL 17.
func TestPostgresIsReachedByTLSAtOnce(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	backend, _ := startPostgres(t, p)
	server := startServer(t, p, listen, backend, "--alpn", "postgresql", "--allow-cn", "client")
	conn, err := tls.Dial("tcp", listen, &tls.Config{
		RootCAs: p.Pool(), ServerName: "localhost", NextProtos: []string{"postgresql"}, Certificates: []tls.Certificate{p.client(t).TLSCertificate()},
	})
	if err != nil {
		t.Fatal(err)
	}
	bound(t, conn)
	if got := conn.ConnectionState().NegotiatedProtocol; got != "postgresql" {
		t.Errorf("negotiated %q", got)
	}
	const who = "user\x00plain\x00database\x00postgres\x00\x00"
	message := binary.BigEndian.AppendUint32(nil, uint32(8+len(who)))
	message = append(binary.BigEndian.AppendUint32(message, 3<<16), who...)
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	asked := make([]byte, len("R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
	if _, err := io.ReadFull(conn, asked); err != nil || !strings.Contains(string(asked), "SCRAM-SHA-256") {
		t.Errorf("PostgreSQL asked %q, %v", asked, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	server.stop(t)
}
