package certloader_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestOfSeveralIdentitiesTheOneThatFitsIsShown(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	dir := t.TempDir()
	write := func(name string, key devpki.KeyKind, dns ...string) certloader.FileOptions {
		t.Helper()
		id := issue(t, ca, devpki.Request{CommonName: name, DNSNames: dns, Key: key})
		path := filepath.Join(dir, name+".pem")
		if err := os.WriteFile(path, id.CombinedPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		return certloader.FileOptions{Keystore: path}
	}
	first := write("default", devpki.RSA2048, "default.test")
	first.CABundle = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(first.CABundle, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := certloader.New(t.Context(), certloader.WithIdentities(certloader.Files(first),
		write("wild-rsa", devpki.RSA2048, "*.test"),
		write("wild-ecdsa", devpki.ECDSAP256, "*.test"),
		write("shop-rsa", devpki.RSA2048, "shop.test"),
		write("shop-ecdsa", devpki.ECDSAP256, "shop.test"),
		write("old", devpki.RSA2048, "old.test"),
	))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	server := source.ServerConfig(certloader.ServerOptions{})

	rsaOnly := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	ecdsaOnly := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for _, test := range []struct {
		asked  string
		suites []uint16 // of TLS 1.2; nil: any, and TLS 1.3 too
		shown  string
	}{
		{asked: "shop.test", shown: "shop-ecdsa"},
		{asked: "SHOP.test", shown: "shop-ecdsa"},
		{asked: "shop.test", suites: rsaOnly, shown: "shop-rsa"},
		{asked: "shop.test", suites: ecdsaOnly, shown: "shop-ecdsa"},
		{asked: "pears.test", shown: "wild-ecdsa"},
		{asked: "pears.test", suites: rsaOnly, shown: "wild-rsa"},
		{asked: "old.test", shown: "old"},                           // its very name goes before what is cheap
		{asked: "old.test", suites: ecdsaOnly, shown: "wild-ecdsa"}, // but not before what works
		{asked: "default.test", shown: "default"},
		{asked: "elsewhere.example", shown: "default"},
		{asked: "elsewhere.example", suites: ecdsaOnly, shown: "wild-ecdsa"},
		{asked: "", shown: "default"},
		{asked: "", suites: rsaOnly, shown: "default"},
	} {
		client := &tls.Config{ServerName: test.asked, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
		if test.suites != nil {
			client.MaxVersion, client.CipherSuites = tls.VersionTLS12, test.suites
		}
		got := shake(t, client, server)
		if err := got.err(); err != nil {
			t.Errorf("%q %x: %v", test.asked, test.suites, err)
			continue
		}
		if shown := got.client.PeerCertificates[0].Subject.CommonName; shown != test.shown {
			t.Errorf("%q %x is shown %s, want %s", test.asked, test.suites, shown, test.shown)
		}
	}

	// Nor is a session of one name resumed at another, whose certificate the client has not seen.
	for _, version := range versions {
		client := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: version, ClientSessionCache: oneSession{new(sessionOfAll)}}
		for _, visit := range []struct {
			asked   string
			resumed bool
			shown   string
		}{{"shop.test", false, "shop-ecdsa"}, {"Shop.test", true, "shop-ecdsa"}, {"pears.test", false, "wild-ecdsa"}, {"", false, "default"}, {"", true, "default"}} {
			client.ServerName = visit.asked
			got := shake(t, client, server)
			if err := got.err(); err != nil {
				t.Fatal(err)
			}
			if shown := got.client.PeerCertificates[0].Subject.CommonName; got.server.DidResume != visit.resumed || shown != visit.shown {
				t.Errorf("%q: resumed = %t, shown %s; want %t, %s", visit.asked, got.server.DidResume, shown, visit.resumed, visit.shown)
			}
		}
	}

	roles := make(map[string]int)
	for _, cert := range source.Certificates() {
		roles[cert.Role]++
	}
	if roles[certloader.RoleIdentity] != 6 || roles[certloader.RoleCA] != 1 {
		t.Errorf("reported are %v", roles)
	}
}

// Whom none fits is told that by crypto/tls, and not shown one anyway.
func TestAClientThatNoneOfSeveralIdentitiesFitsIsRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	file := func(name string) certloader.FileOptions {
		id := issue(t, ca, devpki.Request{DNSNames: []string{name}, Key: devpki.RSA2048})
		return certloader.FileOptions{Keystore: write(t, "both.pem", id.CombinedPEM())}
	}
	source, err := certloader.New(t.Context(), certloader.WithIdentities(certloader.Files(file("a.test")), file("b.test")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	got := shake(t, &tls.Config{
		ServerName: "b.test", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}, source.ServerConfig(certloader.ServerOptions{}))
	if got.serverError == nil || !strings.Contains(got.serverError.Error(), "no cipher suite supported by both") || got.clientError == nil {
		t.Errorf("server %v, client %v", got.serverError, got.clientError)
	}
}

// What wraps a provider passes on why that did not load, and loads nothing more.
func TestProvidersThatAddPassOnWhatTheFirstFailsWith(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	bad := loader(func(context.Context) (*certloader.Material, error) { return nil, broken })
	for name, provider := range map[string]certloader.Provider{
		"identities":  certloader.WithIdentities(bad, certloader.FileOptions{Keystore: "missing.pem"}),
		"CRLs":        certloader.WithCRLs(bad, "missing.crl"),
		"ticket keys": certloader.WithTicketKeys(bad, "missing.keys"),
	} {
		if _, err := provider.Load(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsWrongWithAFurtherIdentityIsNamed(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	dir := t.TempDir()
	path := filepath.Join(dir, "more.pem")
	write := func(id *devpki.Identity) {
		t.Helper()
		if err := os.WriteFile(path, id.CombinedPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := new(store)
	store.Store(material(issue(t, ca, devpki.Request{DNSNames: []string{"a.test"}}), ca))
	more := certloader.WithIdentities(loader(store.load), certloader.FileOptions{Keystore: path})
	if _, err := more.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "--keystore "+path) {
		t.Errorf("a file that is not there: %v", err)
	}
	good := issue(t, ca, devpki.Request{DNSNames: []string{"b.test"}})
	write(good)
	source, err := certloader.New(t.Context(), more)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	write(issue(t, ca, devpki.Request{DNSNames: []string{"b.test"}, NotBefore: good.Leaf.NotBefore.AddDate(-2, 0, 0), NotAfter: good.Leaf.NotBefore.AddDate(-1, 0, 0)}))
	if err := source.Reload(t.Context()); reason(err) != "expired" || !strings.Contains(err.Error(), "--keystore "+path) {
		t.Errorf("one that has expired: %v", err)
	}
	server := source.ServerConfig(certloader.ServerOptions{})
	got := shake(t, &tls.Config{ServerName: "b.test", RootCAs: ca.Pool()}, server)
	if got.err() != nil || !got.client.PeerCertificates[0].Equal(good.Leaf) {
		t.Errorf("what was there before is no longer shown: %v", got.err())
	}
	if certloader.WithIdentities(more) != more {
		t.Error("nothing was added, and it is another provider")
	}
	if _, err := certloader.WithIdentities(loader(store.load), certloader.FileOptions{}).Load(t.Context()); err == nil {
		t.Error("an identity in no file was loaded")
	}
}
