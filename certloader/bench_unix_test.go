//go:build unix

package certloader

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
	"sallyport/internal/memnet"
)

// fixed is a Provider of what never changes.
type fixed struct{ *Material }

func (f fixed) Load(context.Context) (*Material, error) { return f.Material, nil }
func (fixed) Changed() <-chan struct{}                  { return nil }
func (fixed) Close() error                              { return nil }

// computed is how long the process has computed.
func computed(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkHandshakes compares handshakes in server mode, both sides of them: full
// ones without and with what is remembered of verified chains, and resumed ones.
// They take turns, so that what else the machine does is in each of them. The
// ratios are to the first.
func BenchmarkHandshakes(b *testing.B) {
	for _, of := range []struct {
		name string
		key  devpki.KeyKind
	}{{"ECDSA P-256", devpki.ECDSAP256}, {"RSA 2048", devpki.RSA2048}} {
		b.Run(of.name, func(b *testing.B) { benchmarkHandshakes(b, of.key) })
	}
}

func benchmarkHandshakes(b *testing.B, key devpki.KeyKind) {
	ca := must[*devpki.CA](b)(devpki.NewCA(devpki.Options{Key: key}))
	source := func(request devpki.Request) *Source {
		request.Key = key
		identity := must[*devpki.Identity](b)(ca.Issue(request)).TLSCertificate()
		s, err := New(b.Context(), fixed{&Material{Identity: &identity, Roots: ca.Pool()}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		return s
	}
	allow := func(tls.ConnectionState) error { return nil }
	server := devpki.Request{DNSNames: []string{"localhost"}}
	forgetful := source(server)
	forgetful.current.Load().verified = nil
	remembering := source(server)
	alice := source(devpki.Request{CommonName: "alice"}).current.Load().Identity
	// The client verifies nothing, which would cost both alike.
	full := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return alice, nil }}
	resumed := full.Clone()
	resumed.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	contestants := []struct {
		name           string
		client, server *tls.Config
		took           time.Duration
	}{
		{name: "full", client: full, server: forgetful.ServerConfig(ServerOptions{Authorize: allow})},
		{name: "remembered", client: full, server: remembering.ServerConfig(ServerOptions{Authorize: allow})},
		{name: "resumed", client: resumed, server: remembering.ServerConfig(ServerOptions{Authorize: allow})},
	}
	const batch = 50
	rounds := 0
	for b.Loop() {
		for i := range contestants {
			c := &contestants[i]
			before := computed(b)
			for range batch {
				handshake(b, c.client, c.server)
			}
			c.took += computed(b) - before
		}
		rounds++
	}
	for _, c := range contestants {
		b.ReportMetric(float64(c.took.Microseconds())/float64(rounds*batch), c.name+"-µs")
		b.ReportMetric(float64(c.took)/float64(contestants[0].took), c.name+"-ratio")
	}
}

// handshake is one, to the ticket at its end.
func handshake(b *testing.B, client, server *tls.Config) {
	near, far := memnet.Pipe(16 << 10)
	defer near.Close()
	done := make(chan error, 1)
	go func() {
		defer far.Close()
		conn := tls.Server(far, server)
		err := conn.Handshake()
		if err == nil {
			err = conn.CloseWrite()
		}
		done <- err
	}()
	conn := tls.Client(near, client)
	if _, err := io.Copy(io.Discard, conn); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkClientConfigs is what a config for each connection costs.
func BenchmarkClientConfigs(b *testing.B) {
	ca := must[*devpki.CA](b)(devpki.NewCA(devpki.Options{}))
	s, err := New(b.Context(), fixed{&Material{Roots: ca.Pool()}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	config := s.ClientConfigs(ClientOptions{ServerName: "localhost", Resume: true})
	remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	b.ReportAllocs()
	for b.Loop() {
		config(remote)
	}
}
