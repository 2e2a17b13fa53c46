package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestChallengeEndsAfterItsHandshake(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		version uint16
		route   func(string) *Route // that no name has: what a CA comes for has none
	}{
		{"TLS 1.2", tls.VersionTLS12, nil},
		{"TLS 1.3", tls.VersionTLS13, nil},
		{"with routes", tls.VersionTLS13, func(string) *Route { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPKI(t)
				r := start(t, &Server{Route: test.route, TLS: &tls.Config{
					Certificates: []tls.Certificate{p.server},
					NextProtos:   []string{challengeProtocol, "h2"},
					MinVersion:   tls.VersionTLS12,
				}}, nil)
				socket, err := r.front.Dial(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				config := p.clientConfig()
				config.NextProtos, config.MaxVersion = []string{challengeProtocol}, test.version
				session := tls.Client(socket, config)
				if n, err := session.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("Read: %d bytes, %v, want the end of the stream", n, err)
				}
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				closeAll(socket)
				wantEvents(t, r, "accepted", "handshake", "closed acme_challenge")
				if log := r.log.String(); !strings.Contains(log, "level=INFO msg=\"answered ACME challenge\"") || strings.Count(log, "\n") != 1 {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

// A peer that reads nothing keeps neither the connection nor the shutdown.
func TestChallengeDoesNotWaitForItsPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		config := p.clientConfig()
		config.NextProtos, config.MaxVersion = []string{challengeProtocol}, tls.VersionTLS12
		// Whatever the client has not read by then does not fit.
		r := startBuffered(t, &Server{TLS: &tls.Config{
			Certificates: []tls.Certificate{p.server},
			NextProtos:   []string{challengeProtocol},
			MinVersion:   tls.VersionTLS12,
		}}, nil, 1)
		socket, err := r.front.Dial(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := tls.Client(socket, config).Handshake(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the client's handshake is over before the server's
		began := time.Now()
		if err := r.stop(t, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > challengeLinger {
			t.Errorf("the connection lasted %v, want at most %v", took, challengeLinger)
		}
		closeAll(socket)
		wantEvents(t, r, "accepted", "handshake", "closed acme_challenge")
	})
}
