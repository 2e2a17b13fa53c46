package certloader_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// soon bounds the wait for what the system tells at once; to look at the files
// unasked would take longer.
const soon = 20 * time.Second

// volume is a directory in which a test does what programs do to replace files.
type volume struct {
	*testing.T
	dir string
}

func (v volume) path(name string) string { return filepath.Join(v.dir, name) }

func (v volume) write(name, content string) {
	v.Helper()
	v.mkdir(filepath.Dir(name))
	writeTo(v.T, v.path(name), []byte(content))
}

func (v volume) mkdir(name string) {
	v.Helper()
	v.must(os.MkdirAll(v.path(name), 0o700))
}

func (v volume) link(target, name string) {
	v.Helper()
	v.must(os.Symlink(target, v.path(name)))
}

func (v volume) rename(from, to string) {
	v.Helper()
	v.must(os.Rename(v.path(from), v.path(to)))
}

func (v volume) remove(name string) {
	v.Helper()
	v.must(os.RemoveAll(v.path(name)))
}

func (v volume) must(err error) {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
}

func TestWatchSeesHoweverAFileIsReplaced(t *testing.T) {
	t.Parallel()
	inPlace := func(v volume) { v.write("certs/tls.crt", "3") }
	for _, test := range []struct {
		name    string
		prepare func(volume)
		change  func(volume)
		again   func(volume) // another change, after that one
	}{
		{
			name:    "rewritten in place",
			prepare: func(v volume) { v.write("certs/tls.crt", "1") },
			change:  func(v volume) { v.write("certs/tls.crt", "2") },
			again:   inPlace,
		},
		{
			name:    "renamed over",
			prepare: func(v volume) { v.write("certs/tls.crt", "1") },
			change:  func(v volume) { v.write("certs/tmp", "2"); v.rename("certs/tmp", "certs/tls.crt") },
			again:   inPlace,
		},
		{
			name:    "removed and made anew",
			prepare: func(v volume) { v.write("certs/tls.crt", "1") },
			change:  func(v volume) { v.remove("certs/tls.crt"); v.write("certs/tls.crt", "2") },
			again:   inPlace,
		},
		{
			name: "as Kubernetes updates volumes",
			prepare: func(v volume) {
				v.write("certs/..1/tls.crt", "1")
				v.link("..1", "certs/..data")
				v.link("..data/tls.crt", "certs/tls.crt")
			},
			change: func(v volume) {
				v.write("certs/..2/tls.crt", "2")
				v.link("..2", "certs/..data_tmp")
				v.rename("certs/..data_tmp", "certs/..data")
				v.remove("certs/..1")
			},
			again: func(v volume) {
				v.write("certs/..3/tls.crt", "3")
				v.link("..3", "certs/..data_tmp")
				v.rename("certs/..data_tmp", "certs/..data")
				v.remove("certs/..2")
			},
		},
		{
			name: "behind a link to another directory",
			prepare: func(v volume) {
				v.write("live/tls.crt", "1")
				v.mkdir("certs")
				v.link(v.path("live/tls.crt"), "certs/tls.crt")
			},
			change: func(v volume) { v.write("live/tls.crt", "2") },
			again: func(v volume) {
				v.write("next/tls.crt", "3")
				v.link("../next/tls.crt", "certs/tmp")
				v.rename("certs/tmp", "certs/tls.crt")
			},
		},
		{
			name: "in a directory that a link on the way names",
			prepare: func(v volume) {
				v.write("releases/1/tls.crt", "1")
				v.link("releases/1", "certs")
			},
			change: func(v volume) {
				v.write("releases/2/tls.crt", "2")
				v.link("releases/2", "tmp")
				v.rename("tmp", "certs")
			},
			again: inPlace,
		},
		{
			name:    "in a directory that is removed and made anew",
			prepare: func(v volume) { v.write("certs/tls.crt", "1") },
			change:  func(v volume) { v.remove("certs"); v.write("certs/tls.crt", "2") },
			again:   inPlace,
		},
		{
			name:    "in a directory that is swapped",
			prepare: func(v volume) { v.write("certs/tls.crt", "1") },
			change: func(v volume) {
				v.write("next/tls.crt", "2")
				v.rename("certs", "old")
				v.rename("next", "certs")
			},
			again: inPlace,
		},
		{
			name:    "where there was no directory",
			prepare: func(volume) {},
			change:  func(v volume) { v.write("certs/tls.crt", "2") },
			again:   inPlace,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := volume{t, t.TempDir()}
			test.prepare(v)
			provider := certloader.NewWatcher(slog.New(slog.DiscardHandler)).Watch(&anything{}, []string{v.path("certs/tls.crt")})
			defer provider.Close()
			for _, change := range []func(volume){test.change, test.again} {
				if _, err := provider.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				change(v)
				wantChanged(t, provider)
			}
		})
	}
}

// anything is a Provider that always loads.
type anything struct{}

func (*anything) Load(context.Context) (*certloader.Material, error) {
	return new(certloader.Material), nil
}
func (*anything) Changed() <-chan struct{} { return nil }
func (*anything) Close() error             { return errors.New("closed") }

func wantChanged(t *testing.T, provider interface{ Changed() <-chan struct{} }) {
	t.Helper()
	select {
	case <-provider.Changed():
	case <-time.After(soon):
		t.Fatalf("no change was told of within %v", soon)
	}
}

// A certificate that comes some time before its key, as certificate clients put
// them in place: there is no news until they fit.
func TestWatchWaitsForTheKeyOfANewCertificate(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	first, second := issue(t, ca, devpki.Request{CommonName: "first"}), issue(t, ca, devpki.Request{CommonName: "second"})
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeTo(t, cert, first.CertPEM())
	writeTo(t, key, first.KeyPEM())
	files := &telling{Provider: certloader.Files(certloader.FileOptions{Cert: cert, Key: key}), failed: make(chan struct{}, 8)}
	var log bytes.Buffer
	source, err := certloader.New(t.Context(),
		certloader.NewWatcher(slog.New(slog.NewTextHandler(&log, nil))).Watch(files, []string{cert, key}))
	if err != nil {
		t.Fatal(err)
	}
	writeTo(t, cert, second.CertPEM())
	select {
	case <-files.failed: // has been looked at
	case <-time.After(soon):
		t.Fatalf("nobody looked at the certificate within %v", soon)
	}
	select {
	case <-source.Changed():
		t.Error("a certificate without its key was told of")
	default:
	}
	writeTo(t, key, second.KeyPEM())
	wantChanged(t, source)
	if err := source.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if got := source.Certificates()[0].Subject; got != "CN=second" {
		t.Errorf("serves %s", got)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("log:\n%s", &log)
	}
}

// telling tells of loads that fail.
type telling struct {
	certloader.Provider
	failed chan struct{}
}

func (f *telling) Load(ctx context.Context) (*certloader.Material, error) {
	material, err := f.Provider.Load(ctx)
	if err != nil {
		f.failed <- struct{}{}
	}
	return material, err
}

func TestWatchWithoutPathsChangesNothing(t *testing.T) {
	t.Parallel()
	provider := &anything{}
	if certloader.NewWatcher(slog.New(slog.DiscardHandler)).Watch(provider, nil) != certloader.Provider(provider) {
		t.Error("Watch wraps what it does not watch")
	}
}

func TestWatchClosesItsProvider(t *testing.T) {
	t.Parallel()
	provider := certloader.NewWatcher(slog.New(slog.DiscardHandler)).Watch(&anything{}, []string{t.TempDir()})
	if err := provider.Close(); err == nil || err.Error() != "closed" {
		t.Errorf("Close: %v, want the provider's error", err)
	}
}
