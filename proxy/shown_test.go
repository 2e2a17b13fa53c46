package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// commonName identifies peers in log lines.
func commonName(state tls.ConnectionState) string {
	return state.PeerCertificates[0].Subject.CommonName
}

// wantRefusal checks the one line that tells of a failed handshake.
func wantRefusal(t *testing.T, r *rig, words ...string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "error on TLS handshake") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines tell of a failed handshake in\n%s", len(lines), r.log)
	}
	for _, word := range words {
		if strings.Count(lines[0], word) != 1 {
			t.Errorf("%q is not once in %s", word, lines[0])
		}
	}
}

func deny(tls.ConnectionState) error { return denied{} }

func eachVersion(t *testing.T, test func(t *testing.T, version uint16)) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, version) })
		})
	}
}

func TestRefusedClientIsNamed(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		certs := newPKI(t)
		server := certs.serverConfig()
		server.VerifyConnection = deny
		r := start(t, &Server{TLS: server, HandshakeTimeout: time.Second, Identify: commonName}, nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := certs.clientConfig()
		client.MaxVersion = version
		if _, err := tls.Client(socket, client).Read(make([]byte, 1)); err == nil {
			t.Error("the client was let in")
		}
		_ = socket.Close()
		_ = r.stop(t, time.Minute)
		wantRefusal(t, r, "identity=client", "reason=not_allowed")
	})
}

func TestRefusedTargetIsNamed(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		certs := newPKI(t)
		dial := func(context.Context) (net.Conn, error) {
			near, far := memnet.Pipe(64 << 10)
			target := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certs.server}, MaxVersion: version})
			go func() {
				_, _ = io.Copy(io.Discard, target)
				_ = far.Close()
			}()
			return near, nil
		}
		client := certs.clientConfig()
		client.VerifyConnection = deny
		r := start(t, &Server{Dial: TLSDialer(dial, client, nil), DialTimeout: time.Second, Identify: commonName}, nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, socket)
		_ = socket.Close()
		_ = r.stop(t, time.Minute)
		wantRefusal(t, r, "identity=server", "reason=not_allowed")
	})
}

func TestPeerWithoutACertificateIsNotNamed(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		certs := newPKI(t)
		r := start(t, &Server{TLS: certs.serverConfig(), HandshakeTimeout: time.Second, Identify: commonName}, nil)
		socket, err := r.front.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client := certs.clientConfig()
		client.MaxVersion, client.Certificates = version, nil
		_, _ = tls.Client(socket, client).Read(make([]byte, 1))
		synctest.Wait() // the alert comes before the end of the server's handshake
		_ = socket.Close()
		_ = r.stop(t, time.Minute)
		wantRefusal(t, r, "reason=no_certificate")
		if strings.Contains(r.log.String(), "identity=") {
			t.Errorf("named in\n%s", r.log)
		}
	})
}
