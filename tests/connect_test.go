package tests

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
)

// clientConfig is for clients of a tunnel in server mode: they trust p, expect
// localhost, and show the identity if there is one.
func (p *pki) clientConfig(identity ...files) *tls.Config {
	config := &tls.Config{ServerName: "localhost", RootCAs: p.Pool()}
	for _, id := range identity {
		config.Certificates = append(config.Certificates, id.TLSCertificate())
	}
	return config
}

// targetConfig is for targets of a tunnel in client mode: they show identity
// and ask for a certificate of p.
func (p *pki) targetConfig(identity files) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{identity.TLSCertificate()},
		ClientCAs:    p.Pool(),
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
}

// overTLS has handle serve TLS sessions; a handshake that fails ends the
// connection.
func overTLS(config *tls.Config, handle func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		session := tls.Server(conn, config)
		if session.Handshake() == nil {
			handle(session)
		}
	}
}

// connect makes a TLS connection. A server may refuse the client only when the
// client's part of the handshake is over: see roundTrip.
func connect(t *testing.T, address string, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := handshake(t.Context(), address, config)
	if err != nil {
		t.Fatal(err)
	}
	bound(t, conn)
	return conn
}

// handshake is connect for other goroutines than the test's.
func handshake(ctx context.Context, address string, config *tls.Config) (*tls.Conn, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// roundTrip sends a few bytes to something that echoes and reads them back.
func roundTrip(conn net.Conn) error {
	const text = "there and back"
	if _, err := io.WriteString(conn, text); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	if string(back) != text {
		return fmt.Errorf("sent %q and received %q", text, back)
	}
	return nil
}

// attempt sees whether config lets in, which a handshake alone does not show: it
// returns nil if a few bytes came back.
func attempt(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	conn, err := handshake(t.Context(), address, config)
	if err != nil {
		return err
	}
	bound(t, conn)
	return errors.Join(roundTrip(conn), conn.Close())
}

// shown returns the certificate that new connections are shown.
func shown(t *testing.T, address string, config *tls.Config) *x509.Certificate {
	t.Helper()
	conn := connect(t, address, config)
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState().PeerCertificates[0]
}

// speakNoTLS sends something else, and waits until it is turned away.
func speakNoTLS(t *testing.T, address string) {
	t.Helper()
	conn := dial(t, "tcp", address)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Fatal(err)
	}
}
