package policy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sallyport/devpki"
	"sallyport/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is more than any answer takes that is to come.
const patience = 20 * time.Second

var (
	alice = devpki.Request{
		CommonName:          "alice",
		OrganizationalUnits: []string{"operations"},
		DNSNames:            []string{"alice.test"},
		IPs:                 []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		URIs:                []string{"spiffe://test/team/alice?x=1"},
	}
	from = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40312}
)

// peer is a connection whose peer has shown a certificate as requested, and was
// verified.
func peer(t testing.TB, request devpki.Request) tls.ConnectionState {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	return tls.ConnectionState{
		Version:            tls.VersionTLS13,
		CipherSuite:        tls.TLS_AES_128_GCM_SHA256,
		ServerName:         "service.test",
		NegotiatedProtocol: "h2",
		PeerCertificates:   []*x509.Certificate{id.Leaf},
		VerifiedChains:     [][]*x509.Certificate{{id.Leaf, ca.Certificate()}},
	}
}

// write makes the files, named by their paths below dir.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// file makes a file of Rego and returns its path.
func file(t testing.TB, content string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"access.rego": content})
	return filepath.Join(dir, "access.rego")
}

// archive makes a bundle's archive and returns its path.
func archive(t testing.TB, files map[string]string) string {
	t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	tape := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}
		if err := tape.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := tape.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tape.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, path, query string) *policy.Policy {
	t.Helper()
	p, err := policy.Load(t.Context(), path, query, patience)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reason is that of an error, "" for none.
func reason(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	refusal, ok := errors.AsType[*policy.Error](err)
	if !ok {
		t.Fatalf("%v: not a *policy.Error", err)
	}
	return refusal.Reason()
}
