package sidecar

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/devpki"
)

// held is a Provider of fixed material.
type held struct{ material certloader.Material }

func (p held) Load(context.Context) (*certloader.Material, error) { return &p.material, nil }
func (held) Changed() <-chan struct{}                             { return nil }
func (held) Close() error                                         { return nil }

// holding is a tunnel that holds an identity and a CA, each valid until then.
func holding(t *testing.T, from, leafEnd, caEnd time.Time, id config.Identity) *tunnel {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "ca", NotBefore: from, NotAfter: caEnd})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(devpki.Request{CommonName: "leaf", NotBefore: from, NotAfter: leafEnd})
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf.TLSCertificate()
	source, err := certloader.New(t.Context(), held{certloader.Material{
		Identity: &cert, Roots: ca.Pool(), CAs: []*x509.Certificate{ca.Certificate()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	return &tunnel{config: &config.Tunnel{Name: "server", Identity: id}, source: source}
}

func TestExpiryIsWarnedAboutOnceADay(t *testing.T) {
	t.Parallel()
	start := time.Now()
	tunnels := []*tunnel{holding(t, start, start.Add(40*day), start.Add(400*day), config.Identity{Cert: "c"})}
	var log syncBuffer
	e := newExpiry(slog.New(slog.NewTextHandler(&log, nil)), these(tunnels...))
	warned := func() int { return strings.Count(log.String(), "level=WARN") }

	for at := time.Duration(0); at < 10*day; at += time.Hour {
		e.look(start.Add(at))
	}
	if n := warned(); n != 0 {
		t.Errorf("%d warnings more than 30 days before the end:\n%s", n, &log)
	}
	for at := 10 * day; at < 45*day; at += time.Hour {
		e.look(start.Add(at))
	}
	if n := warned(); n != 35 {
		t.Errorf("%d warnings in 35 days:\n%s", n, &log)
	}
	for _, want := range []string{
		`msg="a certificate will expire soon" tunnel=server role=identity subject="CN=leaf"`,
		"days_left=29", "days_left=0", `msg="a certificate has expired"`, "days_left=-1",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%s", want, &log)
		}
	}
	if strings.Contains(log.String(), "role=ca") {
		t.Error("warned about the CA, which lasts")
	}
}

func TestEverythingHeldIsWarnedAbout(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tunnels := []*tunnel{holding(t, now.Add(-365*day), now.Add(10*day), now.Add(20*day), config.Identity{Keystore: "k"})}
	var log syncBuffer
	e := newExpiry(slog.New(slog.NewTextHandler(&log, nil)), these(tunnels...))
	e.look(now)
	for _, want := range []string{"role=identity", "role=ca"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("not one %s in\n%s", want, &log)
		}
	}
	e.tunnels = these()
	e.look(now.Add(5 * day))
	if len(e.warned) != 0 {
		t.Errorf("remembers what is gone: %v", e.warned)
	}
}

func TestWhatRenewsItselfIsWarnedAboutWhenThatIsOverdue(t *testing.T) {
	t.Parallel()
	start := time.Now()
	const life = time.Hour
	tunnels := []*tunnel{holding(t, start, start.Add(life), start.Add(life), config.Identity{WorkloadAPI: config.WorkloadAPI{Use: true}})}
	var log syncBuffer
	e := newExpiry(slog.New(slog.NewTextHandler(&log, nil)), these(tunnels...))
	e.look(start.Add(life * 7 / 10))
	if log.String() != "" {
		t.Errorf("warned in time: %s", &log)
	}
	e.look(start.Add(life * 8 / 10))
	if n := strings.Count(log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings, want 2: %s", n, &log)
	}
}

// listed is a tunnel that trusts the CA and has those lists of revocation, by the names of their files.
func listed(t *testing.T, trusted *x509.Certificate, lists ...string) *tunnel {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(trusted)
	provider := held{certloader.Material{Roots: pool, CAs: []*x509.Certificate{trusted}}}
	source, err := certloader.New(t.Context(), certloader.WithCRLs(provider, lists...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	return &tunnel{config: &config.Tunnel{Name: "server"}, source: source}
}

// writeCRL writes an empty list of the CA's that ends then.
func writeCRL(t *testing.T, path string, ca *devpki.CA, end time.Time) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: end.Add(-2 * day), NextUpdate: end}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Certificate(), ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, der, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestListsThatLetNobodyThroughOrCountForNobodyAreWarnedAbout(t *testing.T) {
	t.Parallel()
	now, dir := time.Now(), t.TempDir()
	root, err := devpki.NewCA(devpki.Options{CommonName: "root"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := root.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	expired := writeCRL(t, filepath.Join(dir, "expired"), sub, now.Add(-time.Hour))
	fresh := writeCRL(t, filepath.Join(dir, "fresh"), sub, now.Add(day))
	above := writeCRL(t, filepath.Join(dir, "above"), root, now.Add(-time.Hour))

	for _, test := range []struct {
		name     string
		lists    []string
		want     string // the warning; empty is none
		file     string
		measured int
	}{
		{name: "good", lists: []string{fresh}, measured: 1},
		{name: "run out", lists: []string{expired}, want: "a revocation list has run out", file: expired, measured: 1},
		{name: "run out, and replaced", lists: []string{expired, fresh}, measured: 1},
		{name: "of an issuer above the trust", lists: []string{fresh, above}, want: "a revocation list counts for nobody", file: above, measured: 1},
	} {
		listing := listed(t, sub.Certificate(), test.lists...)
		var log syncBuffer
		e := newExpiry(slog.New(slog.NewTextHandler(&log, nil)), these(listing))
		e.look(now)
		e.look(now.Add(time.Hour))
		if n := strings.Count(log.String(), "level=WARN"); (n == 0) != (test.want == "") || n > 1 {
			t.Errorf("%s: %d warnings: %s", test.name, n, &log)
		}
		if !strings.Contains(log.String(), test.want) || !strings.Contains(log.String(), test.file) {
			t.Errorf("%s: warned %q, want %q with %q", test.name, &log, test.want, test.file)
		}
		if got := listing.measured(new(ledger)).CRLs(); len(got) != test.measured {
			t.Errorf("%s: %d lists are measured, want %d", test.name, len(got), test.measured)
		}
	}
}

// these are tunnels that stay the same.
func these(tunnels ...*tunnel) func() []*tunnel { return func() []*tunnel { return tunnels } }
