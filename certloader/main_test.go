package certloader_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/certloader"
	"sallyport/devpki"
	"sallyport/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCA(t testing.TB, opts devpki.Options) *devpki.CA {
	t.Helper()
	ca, err := devpki.NewCA(opts)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *devpki.CA, req devpki.Request) *devpki.Identity {
	t.Helper()
	id, err := ca.Issue(req)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// write puts data into a new file of the given name and returns its path.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeTo(t, path, data)
	return path
}

// writeTo puts data into a file, in place of what is there.
func writeTo(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// material makes an identity and trust of what devpki made; either may be nil.
func material(id *devpki.Identity, trust *devpki.CA) *certloader.Material {
	m := &certloader.Material{Origin: "--cert test.pem"}
	if id != nil {
		cert := id.TLSCertificate()
		m.Identity = &cert
	}
	if trust != nil {
		m.CAs = []*x509.Certificate{trust.Root()}
		m.Roots = trust.Pool()
	}
	return m
}

// loader is a Provider that is a function.
type loader func(context.Context) (*certloader.Material, error)

func (l loader) Load(ctx context.Context) (*certloader.Material, error) { return l(ctx) }
func (loader) Changed() <-chan struct{}                                 { return nil }
func (loader) Close() error                                             { return nil }

// store is a place that a loader loads from, and that a test may change.
type store struct {
	atomic.Pointer[certloader.Material]
}

func (s *store) load(context.Context) (*certloader.Material, error) { return s.Load(), nil }

// newSource returns a Source and the store that it loads from.
func newSource(t testing.TB, m *certloader.Material) (*certloader.Source, *store) {
	t.Helper()
	s := new(store)
	s.Store(m)
	source, err := certloader.New(t.Context(), loader(s.load))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return source, s
}

// swap stores m and reloads.
func swap(t testing.TB, source *certloader.Source, s *store, m *certloader.Material) {
	t.Helper()
	s.Store(m)
	if err := source.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// outcome is how a handshake ended for either side.
type outcome struct {
	client, server           tls.ConnectionState
	clientError, serverError error
}

func (o outcome) err() error { return errors.Join(o.serverError, o.clientError) }

// shake has a client and a server shake hands. The client reads what follows,
// because in TLS 1.3 it is only then that it learns of the server's verdict,
// and gets its tickets.
func shake(t testing.TB, client, server *tls.Config) (result outcome) {
	t.Helper()
	near, far := memnet.Pipe(64 << 10)
	deadline := time.Now().Add(20 * time.Second)
	if err := errors.Join(near.SetDeadline(deadline), far.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		conn := tls.Server(far, server)
		if result.serverError = conn.Handshake(); result.serverError == nil {
			result.server = conn.ConnectionState()
			result.serverError = conn.Close()
		}
	}()
	conn := tls.Client(near, client)
	if result.clientError = conn.Handshake(); result.clientError == nil {
		result.client = conn.ConnectionState()
		_, result.clientError = io.ReadAll(conn)
	}
	near.Close()
	<-done
	return result
}

// reason is the reason that err has, or else "none".
func reason(err error) string {
	var with interface{ Reason() string }
	if errors.As(err, &with) {
		return with.Reason()
	}
	return "none"
}

func allow(tls.ConnectionState) error { return nil }

// versions is the TLS versions that there are.
var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
