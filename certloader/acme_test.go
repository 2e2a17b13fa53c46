package certloader_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"sallyport/certloader"
	"sallyport/devpki"
)

// acmeOptions is for a CA that nobody has started, and for a name of the test's
// own: certmagic remembers by name, for all of a process, how long not to try
// again.
func acmeOptions(t *testing.T) certloader.ACMEOptions {
	t.Helper()
	return certloader.ACMEOptions{
		Domain:  strings.ToLower(rand.Text()) + ".example",
		Email:   "operator@example.com",
		Agreed:  true,
		CA:      "http://127.0.0.1:1/directory",
		Storage: t.TempDir(),
	}
}

// keep puts an identity into the Storage of opts, as an earlier run would have
// left it there.
func keep(t *testing.T, opts certloader.ACMEOptions, id *devpki.Identity) {
	t.Helper()
	const issuer = "127.0.0.1:1-directory"
	for name, data := range map[string][]byte{
		certmagic.StorageKeys.SiteCert(issuer, opts.Domain):       id.CertPEM(),
		certmagic.StorageKeys.SitePrivateKey(issuer, opts.Domain): id.KeyPEM(),
		certmagic.StorageKeys.SiteMeta(issuer, opts.Domain):       []byte(`{"sans": ["` + opts.Domain + `"], "issuer_data": {}}`),
	} {
		path := filepath.Join(opts.Storage, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// lasting returns an identity that is valid for so long, and has been for an
// hour.
func lasting(t *testing.T, ca *devpki.CA, domain string, d time.Duration) *devpki.Identity {
	t.Helper()
	now := time.Now()
	return issue(t, ca, devpki.Request{
		DNSNames:  []string{domain},
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(d),
	})
}

// inBubble is synctest.Test for what certmagic does: for each file that locks its
// storage it has a goroutine that looks every five seconds whether to end.
func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t)
		time.Sleep(10 * time.Second)
	})
}

func TestACMERefusesWhatNoCAWouldIssue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*certloader.ACMEOptions)
		text   string
	}{
		"no name":        {func(o *certloader.ACMEOptions) { o.Domain = "" }, "not a DNS name"},
		"wildcard":       {func(o *certloader.ACMEOptions) { o.Domain = "*.example.com" }, "not a DNS name"},
		"address":        {func(o *certloader.ACMEOptions) { o.Domain = "192.0.2.1" }, "not a DNS name"},
		"a path":         {func(o *certloader.ACMEOptions) { o.Domain = "../x" }, "not a DNS name"},
		"a line break":   {func(o *certloader.ACMEOptions) { o.Domain = "a.example\nb" }, "not a DNS name"},
		"no e-mail":      {func(o *certloader.ACMEOptions) { o.Email = "" }, "needs --auto-acme-email"},
		"not agreed":     {func(o *certloader.ACMEOptions) { o.Agreed = false }, "needs --auto-acme-agree-to-tos"},
		"unsafe CA":      {func(o *certloader.ACMEOptions) { o.CA = "http://ca.example/directory" }, "HTTPS required"},
		"CA of no sense": {func(o *certloader.ACMEOptions) { o.CA = "https://%zz" }, "invalid URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				opts := acmeOptions(t)
				test.change(&opts)
				_, err := certloader.ACME(t.Context(), opts)
				if err == nil || !strings.HasPrefix(err.Error(), "--auto-acme-cert ") || !strings.Contains(err.Error(), test.text) {
					t.Errorf("ACME: %v, want %q in it", err, test.text)
				}
			})
		})
	}
}

func TestACMEWantsADirectoryToKeepThingsIn(t *testing.T) {
	for _, name := range []string{"HOME", "USERPROFILE", "home", "XDG_DATA_HOME"} {
		t.Setenv(name, "")
	}
	inBubble(t, func(t *testing.T) {
		opts := acmeOptions(t)
		opts.Storage, opts.Stored = "", true
		_, err := certloader.ACME(t.Context(), opts)
		if err == nil || !strings.Contains(err.Error(), "set XDG_DATA_HOME to one that lasts") {
			t.Errorf("without a directory: %v", err)
		}
	})
}

func TestACMETriesFiveTimesAtStart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		var log bytes.Buffer
		opts := acmeOptions(t)
		opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		_, err := certloader.ACME(t.Context(), opts)
		if err == nil || !strings.HasPrefix(err.Error(), "--auto-acme-cert "+opts.Domain+": ") || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("ACME: %v", err)
		}
		for pause, times := range map[string]int{"trying again": 4, "in=1s": 1, "in=2s": 1, "in=4s": 1, "in=8s": 1} {
			if got := strings.Count(log.String(), pause); got != times {
				t.Errorf("%q is %d times in the log, want %d:\n%s", pause, got, times, &log)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 5 {
			t.Errorf("%d lines of log, want 5:\n%s", lines, &log)
		}
	})
}

func TestACMEGivesUpWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := certloader.ACME(ctx, acmeOptions(t)); err == nil {
			t.Error("got a certificate from nobody")
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestACMEStartsWithWhatAnEarlierRunHasKept(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	opts := acmeOptions(t)
	opts.CABundle = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(opts.CABundle, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	id := lasting(t, ca, opts.Domain, time.Hour)
	keep(t, opts, id)
	provider, err := certloader.ACME(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	source, err := certloader.New(t.Context(), provider)
	if err != nil {
		t.Fatal(err)
	}
	server := source.ServerConfig(certloader.ServerOptions{Authorize: allow, Challenges: true})
	alice := issue(t, ca, devpki.Request{CommonName: "alice"})
	client := &tls.Config{ServerName: opts.Domain, RootCAs: ca.Pool(), Certificates: []tls.Certificate{alice.TLSCertificate()}}
	got := shake(t, client, server)
	if got.err() != nil || !got.client.PeerCertificates[0].Equal(id.Leaf) {
		t.Errorf("handshake: %v", got.err())
	}

	// Nobody waits for a validation.
	for _, name := range []string{opts.Domain, "other.example"} {
		client.ServerName, client.NextProtos = name, []string{certloader.ChallengeProtocol}
		got := shake(t, client, server)
		if reason(got.serverError) != "no_challenge" || !strings.Contains(got.serverError.Error(), name) {
			t.Errorf("challenge for %s: %v", name, got.serverError)
		}
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

func TestACMEDoesNotStartWithWhatIsBroken(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	other := issue(t, ca, devpki.Request{CommonName: "other"})
	for name, test := range map[string]struct {
		stored func(*devpki.Identity) (cert, key []byte)
		text   string
	}{
		"garbage":      {func(id *devpki.Identity) (cert, key []byte) { return []byte("garbage"), id.KeyPEM() }, "PEM"},
		"empty":        {func(id *devpki.Identity) (cert, key []byte) { return nil, id.KeyPEM() }, "PEM"},
		"another key":  {func(id *devpki.Identity) (cert, key []byte) { return id.CertPEM(), other.KeyPEM() }, "private key"},
		"key of trash": {func(id *devpki.Identity) (cert, key []byte) { return id.CertPEM(), []byte("trash") }, "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := acmeOptions(t)
			id := lasting(t, ca, opts.Domain, time.Hour)
			keep(t, opts, id)
			cert, key := test.stored(id)
			overwrite(t, opts.Storage, "*.crt", cert)
			overwrite(t, opts.Storage, "*.key", key)
			_, err := certloader.ACME(t.Context(), opts)
			if err == nil || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), opts.Storage) {
				t.Errorf("ACME: %v, want %q and the directory in it", err, test.text)
			}
		})
	}
}

// What no longer loads while it runs is an error that names what to look at.
func TestACMENamesWhatNoLongerLoads(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	opts := acmeOptions(t)
	opts.CABundle = write(t, "ca.pem", ca.PEM())
	keep(t, opts, lasting(t, ca, opts.Domain, time.Hour))
	provider, err := certloader.ACME(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	for _, step := range []struct {
		spoil func()
		want  string
	}{
		{func() {}, ""},
		{func() { writeTo(t, opts.CABundle, []byte("garbage")) }, "--cacert " + opts.CABundle + ": no PEM block in it"},
		{func() { overwrite(t, opts.Storage, "*.crt", []byte("garbage")) }, "--auto-acme-cert " + opts.Domain + ": loading what FileStorage:" + opts.Storage + " has: "},
	} {
		step.spoil()
		if _, err := provider.Load(t.Context()); (err == nil) != (step.want == "") || err != nil && !strings.HasPrefix(err.Error(), step.want) {
			t.Errorf("error = %v\nwant    %s", err, step.want)
		}
	}
}

// overwrite replaces the one file in the Storage that matches a pattern.
func overwrite(t *testing.T, storage, pattern string, data []byte) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(storage, "certificates", "*", "*", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %q, %v", pattern, storage, found, err)
	}
	if err := os.WriteFile(found[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStoredACMEAsksNobody(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	opts := acmeOptions(t)
	opts.Stored = true
	if _, err := certloader.ACME(t.Context(), opts); !errors.Is(err, certloader.ErrNoneStored) {
		t.Errorf("with nothing stored: %v", err)
	}
	id := lasting(t, ca, opts.Domain, -time.Minute)
	keep(t, opts, id)
	provider, err := certloader.ACME(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	material, err := provider.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !material.Identity.Leaf.Equal(id.Leaf) || material.Origin != "--auto-acme-cert "+opts.Domain {
		t.Errorf("%s: %v", material.Origin, material.Identity.Leaf.Subject)
	}
	if err := provider.Close(); err != nil {
		t.Error(err)
	}
}

func TestACMENoticesWhatAnotherProcessHasRenewed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		ca := newCA(t, devpki.Options{})
		var log bytes.Buffer
		opts := acmeOptions(t)
		opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		keep(t, opts, lasting(t, ca, opts.Domain, 20*time.Minute)) // of 80: to be renewed
		provider, err := certloader.ACME(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		source, err := certloader.New(t.Context(), provider)
		if err != nil {
			t.Fatal(err)
		}
		renewed := lasting(t, ca, opts.Domain, 240*time.Hour)
		keep(t, opts, renewed)
		<-source.Changed() // else the bubble is a deadlock
		if err := source.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := source.Certificates()[0].NotAfter; !got.Equal(renewed.Leaf.NotAfter) {
			t.Errorf("the certificate in use lasts until %v, want %v", got, renewed.Leaf.NotAfter)
		}
		time.Sleep(time.Hour)
		select {
		case <-source.Changed():
			t.Error("changed again, with nothing new")
		default:
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestACMETellsThatRenewalsFail(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(storage string) error{
		"no CA":                func(string) error { return nil },
		"no CA and no Storage": os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) {
				ca := newCA(t, devpki.Options{})
				var log bytes.Buffer
				opts := acmeOptions(t)
				opts.Log = slog.New(slog.NewTextHandler(&log, nil))
				keep(t, opts, lasting(t, ca, opts.Domain, 20*time.Minute))
				provider, err := certloader.ACME(t.Context(), opts)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := provider.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := spoil(opts.Storage); err != nil {
					t.Fatal(err)
				}
				time.Sleep(11 * time.Minute) // the first look is after ten
				if err := provider.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if got := log.String(); !strings.Contains(got, "could not be kept up to date") || !strings.Contains(got, "connection refused") {
					t.Errorf("log:\n%s", got)
				}
			})
		})
	}
}
