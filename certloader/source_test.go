package certloader_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestNewReturnsWhatTheProviderFailsWith(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	source, err := certloader.New(t.Context(), loader(func(context.Context) (*certloader.Material, error) { return nil, broken }))
	if source != nil || !errors.Is(err, broken) {
		t.Errorf("New = %v, %v", source, err)
	}
}

func TestIncompleteIdentitiesAreRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	id := issue(t, ca, devpki.Request{CommonName: "server"})
	for name, change := range map[string]func(*tls.Certificate){
		"no certificate":       func(c *tls.Certificate) { c.Certificate = nil },
		"no leaf":              func(c *tls.Certificate) { c.Leaf = nil },
		"no key":               func(c *tls.Certificate) { c.PrivateKey = nil },
		"garbage in the chain": func(c *tls.Certificate) { c.Certificate = append(c.Certificate, []byte("garbage")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, files := newSource(t, material(id, ca))
			bad := material(id, ca)
			change(bad.Identity)
			files.Store(bad)
			if err := source.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "--cert test.pem") {
				t.Errorf("Reload: %v, want an error that names the origin", err)
			}
			if _, err := certloader.New(t.Context(), loader(files.load)); err == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestAFailedReloadLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{CommonName: "test CA"})
	other := newCA(t, devpki.Options{CommonName: "other CA"})
	now := time.Now()
	for _, test := range []struct {
		name   string
		next   *certloader.Material
		reason string
		text   string
	}{
		{
			name: "expired", reason: "expired", text: "expired at",
			next: material(issue(t, ca, devpki.Request{CommonName: "next", NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}), other),
		},
		{
			name: "not yet valid", reason: "not_yet_valid", text: "not valid before",
			next: material(issue(t, ca, devpki.Request{CommonName: "next", NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}), other),
		},
		{name: "broken", reason: "none", text: "incomplete", next: &certloader.Material{Origin: "--cert test.pem", Identity: new(tls.Certificate)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source, files := newSource(t, material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca))
			server := source.ServerConfig(certloader.ServerOptions{Authorize: allow})
			before := source.Certificates()

			files.Store(test.next)
			err := source.Reload(t.Context())
			if err == nil || reason(err) != test.reason {
				t.Fatalf("Reload: %v, reason %s", err, reason(err))
			}
			for _, part := range []string{"--cert test.pem: ", test.text} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not tell of %q", err, part)
				}
			}
			if after := source.Certificates(); !slices.Equal(before, after) {
				t.Errorf("now %v, before %v", after, before)
			}
			client, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "alice"}), ca))
			if err := shake(t, client.ClientConfig(certloader.ClientOptions{ServerName: "localhost"}), server).err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAReloadToTrustThatHasExpiredIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca := newCA(t, devpki.Options{})
	expired := newCA(t, devpki.Options{CommonName: "old CA", NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
	id := issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}})

	source, files := newSource(t, material(id, ca))
	next := material(id, expired)
	next.TrustOrigin = "--cacert test.pem"
	files.Store(next)
	err := source.Reload(t.Context())
	if reason(err) != "expired" || !strings.HasPrefix(err.Error(), "--cacert test.pem: ") || !strings.Contains(err.Error(), "old CA") {
		t.Errorf("Reload: %v", err)
	}

	bundle := material(id, expired)
	bundle.CAs = append(bundle.CAs, ca.Certificate())
	bundle.Roots.AddCert(ca.Certificate())
	swap(t, source, files, bundle)

	// Trust that has expired in use keeps out no new identity.
	source, files = newSource(t, material(id, expired))
	swap(t, source, files, material(issue(t, ca, devpki.Request{CommonName: "new"}), expired))
}

func TestAnExpiredIdentityLoadsAtStart(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	end := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	source, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "old", NotBefore: end.Add(-time.Hour), NotAfter: end}), ca))
	if got := source.Certificates()[0].NotAfter; !got.Equal(end) {
		t.Errorf("NotAfter = %s, want %s", got, end)
	}
}

func TestCertificatesDescribesWhatIsInUse(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{CommonName: "test CA"})
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	id := issue(t, sub, devpki.Request{CommonName: "server", OrganizationalUnits: []string{"eng"}})
	source, files := newSource(t, material(id, ca))

	describe := func(role, subject string, cert *x509.Certificate) certloader.Certificate {
		return certloader.Certificate{Role: role, Subject: subject, Serial: cert.SerialNumber.Text(16), NotAfter: cert.NotAfter, X509: cert}
	}
	want := []certloader.Certificate{
		describe("identity", "CN=server,OU=eng", id.Leaf),
		describe("intermediate", "CN=sub CA", sub.Certificate()),
		describe("ca", "CN=test CA", ca.Certificate()),
	}
	same := func(a, b certloader.Certificate) bool {
		held := a.X509.Equal(b.X509)
		a.X509, b.X509 = nil, nil
		return held && a == b
	}
	if got := source.Certificates(); !slices.EqualFunc(got, want, same) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	swap(t, source, files, material(nil, nil))
	if got := source.Certificates(); len(got) != 0 {
		t.Errorf("with neither identity nor trust: %v", got)
	}
}

func TestReloadsWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var loading, most, loads atomic.Int32
		source, err := certloader.New(t.Context(), loader(func(context.Context) (*certloader.Material, error) {
			most.Store(max(most.Load(), loading.Add(1)))
			defer loading.Add(-1)
			loads.Add(1)
			time.Sleep(time.Second)
			return new(certloader.Material), nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := source.Reload(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		// One that gives up waiting for its turn.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		synctest.Wait()
		if err := source.Reload(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Reload with an ended context: %v", err)
		}
		all.Wait()
		if most.Load() != 1 || loads.Load() != 6 {
			t.Errorf("%d loads, %d at once", loads.Load(), most.Load())
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsAReloadAndRefusesLaterOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := true
		source, err := certloader.New(t.Context(), loader(func(ctx context.Context) (*certloader.Material, error) {
			if first {
				first = false
				return new(certloader.Material), nil
			}
			<-ctx.Done()
			time.Sleep(time.Minute) // a loader that takes its time to end
			return nil, ctx.Err()
		}))
		if err != nil {
			t.Fatal(err)
		}
		loading, waiting := make(chan error, 1), make(chan error, 1)
		go func() { loading <- source.Reload(t.Context()) }()
		synctest.Wait()
		go func() { waiting <- source.Reload(t.Context()) }()
		synctest.Wait()

		began := time.Now()
		if err := source.Close(); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("Close waited %s for the loader, want a minute", waited)
		}
		for name, result := range map[string]chan error{"loading": loading, "waiting": waiting} {
			if err := <-result; !errors.Is(err, certloader.ErrClosed) {
				t.Errorf("the Reload that was %s: %v", name, err)
			}
		}
		if err := source.Reload(t.Context()); !errors.Is(err, certloader.ErrClosed) {
			t.Errorf("a later Reload: %v", err)
		}
		if err := source.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}

// Each handshake sees identity and trust that belong together, however reloads
// fall.
func TestHandshakesDuringReloads(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	server := material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca)
	renewed := material(issue(t, ca, devpki.Request{DNSNames: []string{"localhost"}}), ca)
	source, files := newSource(t, server)
	config := source.ServerConfig(certloader.ServerOptions{Authorize: allow})
	alice, _ := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "alice"}), ca))
	client := alice.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)

	done := make(chan struct{})
	var reloader, shakers sync.WaitGroup
	reloader.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			files.Store([]*certloader.Material{server, renewed}[i%2])
			if err := source.Reload(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 4 {
		shakers.Go(func() {
			for range 25 {
				if err := shake(t, client, config).err(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	shakers.Wait()
	close(done)
	reloader.Wait()
}

// closing is a Provider that counts how often it was closed.
type closing struct {
	loader
	closed int
}

func (c *closing) Close() error {
	c.closed++
	return errors.New("closed")
}

func TestTheProviderIsClosedOnceWithItsSource(t *testing.T) {
	t.Parallel()
	good := &closing{loader: func(context.Context) (*certloader.Material, error) { return new(certloader.Material), nil }}
	source, err := certloader.New(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := source.Close(); err == nil || err.Error() != "closed" {
			t.Errorf("Close: %v, want the provider's error", err)
		}
	}
	broken := errors.New("broken")
	bad := &closing{loader: func(context.Context) (*certloader.Material, error) { return nil, broken }}
	if _, err := certloader.New(t.Context(), bad); !errors.Is(err, broken) {
		t.Errorf("New: %v, want the provider's error", err)
	}
	if good.closed != 1 || bad.closed != 1 {
		t.Errorf("closed %d and %d times, want once each", good.closed, bad.closed)
	}
}

// A disk that does not answer notices no context.
func TestReloadReturnsThoughTheProviderHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hanging atomic.Bool
		source, err := certloader.New(t.Context(), loader(func(context.Context) (*certloader.Material, error) {
			if hanging.Load() {
				time.Sleep(time.Hour)
			}
			return new(certloader.Material), nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		late := errors.New("too late")
		reload := func() error {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, late)
			defer cancel()
			return source.Reload(ctx)
		}
		hanging.Store(true)
		began := time.Now()
		for range 2 { // the second waits for its turn
			if err := reload(); !errors.Is(err, late) {
				t.Errorf("Reload: %v, want the context's cause", err)
			}
		}
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("the reloads took %v", took)
		}
		hanging.Store(false)
		time.Sleep(time.Hour)
		if err := reload(); err != nil {
			t.Errorf("Reload once the provider is back: %v", err)
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What came with an identity that is in use already, such as a revocation, must not wait for a new one.
func TestAnExpiredIdentityInUseKeepsNothingOut(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, devpki.Options{}), newCA(t, devpki.Options{})
	past := time.Now().Add(-time.Hour)
	expired := issue(t, ca, devpki.Request{CommonName: "server", NotBefore: past.Add(-time.Hour), NotAfter: past})
	source, place := newSource(t, material(expired, ca))
	swap(t, source, place, material(expired, other))
	if got := source.Certificates(); got[len(got)-1].X509.Equal(ca.Root()) {
		t.Error("the trust did not change")
	}
}

func TestReloadRefusesAnIdentityWithAnExpiredIntermediate(t *testing.T) {
	t.Parallel()
	root := newCA(t, devpki.Options{})
	past := time.Now().Add(-time.Hour)
	gone, err := root.Intermediate(devpki.Options{CommonName: "gone", NotBefore: past.Add(-time.Hour), NotAfter: past})
	if err != nil {
		t.Fatal(err)
	}
	below := issue(t, gone, devpki.Request{CommonName: "server", NotBefore: past.Add(-time.Hour), NotAfter: past})
	// The same leaf with dates that are good: signed by the authority that has run out.
	template := *below.Leaf
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, gone.Certificate(), below.Key.Public(), gone.Key())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	source, place := newSource(t, material(issue(t, root, devpki.Request{CommonName: "server"}), root))
	place.Store(&certloader.Material{Origin: "--cert server.pem", Identity: &tls.Certificate{
		Certificate: [][]byte{der, gone.Certificate().Raw}, PrivateKey: below.Key, Leaf: leaf,
	}})
	err = source.Reload(t.Context())
	refused, ok := errors.AsType[*certloader.VerifyError](err)
	if !ok || refused.Reason() != "expired" || !strings.Contains(err.Error(), "gone") {
		t.Errorf("Reload: %v, want the expired intermediate", err)
	}
}

// The certificate may stay the same, and what it needs be replaced by something
// worse: an old cross-signature, say.
func TestReloadRefusesAnExpiredIntermediateForTheCertificateInUse(t *testing.T) {
	t.Parallel()
	root := newCA(t, devpki.Options{})
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	id := issue(t, sub, devpki.Request{CommonName: "server"})
	template := *sub.Certificate()
	template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, root.Certificate(), sub.Key().Public(), root.Key())
	if err != nil {
		t.Fatal(err)
	}
	worse := func() *certloader.Material {
		m := material(id, root)
		m.Identity.Certificate = [][]byte{id.Leaf.Raw, der}
		return m
	}
	source, files := newSource(t, material(id, root))
	files.Store(worse())
	if err := source.Reload(t.Context()); reason(err) != "expired" || !strings.Contains(err.Error(), `"CN=sub"`) {
		t.Errorf("Reload: %v, want the expired intermediate", err)
	}
	// Once it is in use, it keeps nothing out; and it can be mended.
	source, files = newSource(t, worse())
	swap(t, source, files, worse())
	swap(t, source, files, material(id, root))
}

// A chain may have its root in it, which peers have anyway, and what is no part of
// it at all. That these have run out is no reason to refuse the rest.
func TestReloadTakesAnIdentityWithSomethingExpiredThatIsNotNeeded(t *testing.T) {
	t.Parallel()
	past := time.Now().Add(-time.Hour)
	gone := newCA(t, devpki.Options{CommonName: "gone", NotBefore: past.Add(-time.Hour), NotAfter: past})
	ca := newCA(t, devpki.Options{})
	stranger, err := ca.Intermediate(devpki.Options{CommonName: "stranger", NotBefore: past.Add(-time.Hour), NotAfter: past})
	if err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	for name, test := range map[string]struct {
		issuer *devpki.CA
		behind *x509.Certificate
	}{
		"its root":        {gone, gone.Certificate()},
		"somebody's else": {ca, stranger.Certificate()},
	} {
		source, files := newSource(t, material(issue(t, ca, devpki.Request{CommonName: "first"}), ca))
		next := material(issue(t, test.issuer, devpki.Request{CommonName: "next", NotAfter: tomorrow}), ca)
		next.Identity.Certificate = append(next.Identity.Certificate, test.behind.Raw)
		files.Store(next)
		if err := source.Reload(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
