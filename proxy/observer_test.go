package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/memnet"
)

// A target that is TLS takes a while to connect to and another to shake hands with; each is told for itself, and once.
func TestDialAndHandshakeAreToldApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		refused   error
		sends     string // what the target sends in place of a handshake; "" is to shake hands
		dialled   time.Duration
		handshake time.Duration // 0: there is none
		version   uint16        // 0: it failed
		identity  string
	}{
		{name: "both succeed", dialled: 2 * time.Second, handshake: 3 * time.Second, version: tls.VersionTLS13, identity: "server"},
		{name: "nobody listens", refused: errors.New("no"), dialled: 2 * time.Second},
		{name: "the target is not TLS", sends: "220 ready\r\n", dialled: 2 * time.Second, handshake: 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				certs := newPKI(t)
				dial := func(context.Context) (net.Conn, error) {
					time.Sleep(2 * time.Second)
					if c.refused != nil {
						return nil, c.refused
					}
					near, far := memnet.Pipe(64 << 10)
					go func() {
						defer func() { _ = far.Close() }()
						time.Sleep(3 * time.Second)
						if c.sends != "" {
							_, _ = far.Write([]byte(c.sends))
							return
						}
						_, _ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certs.server}}).Read(make([]byte, 1))
					}()
					return near, nil
				}
				s := &Server{Dial: TLSDialer(dial, certs.clientConfig(), nil), Identify: commonName}
				r := start(t, s, nil)
				dials, handshakes, opened := 0, 0, ""
				s.Observer = Observer{
					Dialled: func(took time.Duration) {
						dials++
						if took != c.dialled {
							t.Errorf("dialling took %v, want %v", took, c.dialled)
						}
					},
					Handshake: func(took time.Duration, session *tls.ConnectionState) {
						handshakes++
						if took != c.handshake {
							t.Errorf("the handshake took %v, want %v", took, c.handshake)
						}
						if ok := session != nil; ok != (c.version != 0) || ok && session.Version != c.version {
							t.Errorf("the session is %+v, want version %#x", session, c.version)
						}
					},
					Opened: func(identity string) { opened = identity },
				}
				socket, err := r.front.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				_ = socket.Close()
				if err := r.stop(t, time.Minute); err != nil {
					t.Error(err)
				}
				if want := min(c.handshake, 1); dials != 1 || handshakes != int(want) || opened != c.identity {
					t.Errorf("%d dials, %d handshakes, opened for %q, want 1, %d, %q", dials, handshakes, opened, want, c.identity)
				}
			})
		})
	}
}
