package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/devpki"
	"sallyport/internal/memnet"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pki is an authority with an identity for each side.
type pki struct {
	ca             *devpki.CA
	server, client tls.Certificate
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string) tls.Certificate {
		id, err := ca.Issue(devpki.Request{CommonName: name, DNSNames: []string{"localhost"}})
		if err != nil {
			t.Fatal(err)
		}
		return id.TLSCertificate()
	}
	return &pki{ca: ca, server: issue("server"), client: issue("client")}
}

// serverConfig asks for a client certificate of the authority.
func (p *pki) serverConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.server},
		ClientAuth:   tls.RequireAnyClientCert,
		MinVersion:   tls.VersionTLS12,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: p.ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})
			return err
		},
	}
}

func (p *pki) clientConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.client},
		RootCAs:      p.ca.Pool(),
		ServerName:   "localhost",
		MinVersion:   tls.VersionTLS12,
	}
}

// journal records what an Observer is told.
type journal struct {
	mu       sync.Mutex
	events   []string
	lifetime []time.Duration
}

func (j *journal) observer() Observer {
	note := func(words ...string) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.events = append(j.events, strings.Join(words, " "))
	}
	return Observer{
		Accepted:  func() { note("accepted") },
		Failed:    func(stage, reason string) { note("failed", stage, reason) },
		Handshake: func(time.Duration, *tls.ConnectionState) { note("handshake") },
		Opened:    func(string) { note("opened") },
		Closed: func(lifetime time.Duration, reason string) {
			note("closed", reason)
			j.mu.Lock()
			defer j.mu.Unlock()
			j.lifetime = append(j.lifetime, lifetime)
		},
	}
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events)
}

// lifetimes are those of the closed connections, in the order in which they closed.
func (j *journal) lifetimes() []time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lifetime)
}

// rig is a server over memory networks, with the listener that clients dial and the one that plays the target.
type rig struct {
	*Server
	front, back *memnet.Listener
	journal     *journal
	log         *bytes.Buffer // to be read after stop
	served      chan error
}

// start serves with the given settings. Dial defaults to the rig's own target, over TLS if there is a configuration for it.
// Call stop before the test ends.
func start(t testing.TB, s *Server, targetTLS *tls.Config) *rig {
	return startBuffered(t, s, targetTLS, 4<<10)
}

func startBuffered(t testing.TB, s *Server, targetTLS *tls.Config, buffer int) *rig {
	return startOn(t, s, targetTLS, buffer, func(ln *memnet.Listener) net.Listener { return ln })
}

// startOn serves on what wrap makes of the listener.
func startOn(t testing.TB, s *Server, targetTLS *tls.Config, buffer int, wrap func(*memnet.Listener) net.Listener) *rig {
	t.Helper()
	r := &rig{
		Server:  s,
		front:   memnet.Listen(buffer),
		back:    memnet.Listen(buffer),
		journal: &journal{},
		log:     &bytes.Buffer{},
		served:  make(chan error, 1),
	}
	if s.Dial == nil {
		s.Dial = r.back.Dial
	}
	s.Observer = r.journal.observer()
	if targetTLS != nil {
		s.Dial = TLSDialer(s.Dial, targetTLS, s.Gate)
	}
	s.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() { r.served <- s.Serve(wrap(r.front)) }()
	return r
}

// stop drains within the limit and returns what Shutdown said.
func (r *rig) stop(t testing.TB, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := r.Shutdown(ctx)
	if served := <-r.served; !errors.Is(served, ErrServerClosed) {
		t.Errorf("Serve returned %v, want ErrServerClosed", served)
	}
	if open, _ := r.Counts(); open != 0 {
		t.Errorf("%d connections are left after Shutdown", open)
	}
	_ = r.back.Close()
	return err
}

// connect dials the rig, accepts what it dials in turn, and waits until forwarding has begun.
func (r *rig) connect(t testing.TB) (client, target *memnet.Conn) {
	t.Helper()
	c, err := r.front.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	target = r.accept(t)
	synctest.Wait()
	return c.(*memnet.Conn), target
}

// connectTLS does the same as a client that shakes hands.
func (r *rig) connectTLS(t testing.TB, certs *pki) (client *tls.Conn, target *memnet.Conn) {
	t.Helper()
	socket, err := r.front.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	client = tls.Client(newWire(socket, new(buffers)), certs.clientConfig())
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	target = r.accept(t)
	synctest.Wait()
	return client, target
}

func (r *rig) accept(t testing.TB) *memnet.Conn {
	t.Helper()
	c, err := r.back.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*memnet.Conn)
}

func wantEvents(t testing.TB, r *rig, want ...string) {
	t.Helper()
	if got := r.journal.all(); !slices.Equal(got, want) {
		t.Errorf("events:\n %q, want\n %q\nlog:\n%s", got, want, r.log)
	}
}

func closeAll(conns ...net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func closeAllOf(all ...io.Closer) {
	for _, c := range all {
		_ = c.Close()
	}
}
