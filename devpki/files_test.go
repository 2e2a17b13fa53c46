package devpki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

func TestInitWritesAnAuthorityAndTwoIdentities(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	err := devpki.Init(dir, devpki.FileOptions{
		DNSNames: []string{"sallyport.example"},
		IPs:      []netip.Addr{netip.MustParseAddr("192.0.2.7")},
		URIs:     []string{"spiffe://example/both"},
		Password: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}

	secret := map[string]bool{
		"ca.pem": false, "ca-key.pem": true,
		"server.pem": false, "server-key.pem": true, "server-combined.pem": true, "server.p12": true,
		"client.pem": false, "client-key.pem": true, "client-combined.pem": true, "client.p12": true,
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		isSecret, wanted := secret[entry.Name()]
		if !wanted {
			t.Errorf("%s: not one of the files that Init promises", entry.Name())
		}
		delete(secret, entry.Name())
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && isSecret && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, and a key in it", entry.Name(), info.Mode())
		}
	}
	for name := range secret {
		t.Errorf("%s: missing", name)
	}

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, dir, "ca.pem"))
	for _, name := range []string{"server", "client"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		leaf := pair.Leaf
		for _, host := range []string{"localhost", "127.0.0.1", "::1", "sallyport.example", "192.0.2.7"} {
			if err := leaf.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if leaf.Subject.CommonName != name || len(leaf.URIs) != 1 {
			t.Errorf("%s: subject %s, URIs %v", name, leaf.Subject, leaf.URIs)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := tls.X509KeyPair(read(t, dir, name+"-combined.pem"), read(t, dir, name+"-combined.pem")); err != nil {
			t.Errorf("%s-combined.pem: %v", name, err)
		}
		_, stored, _, err := pkcs12.DecodeChain(read(t, dir, name+".p12"), "secret")
		if err != nil || !stored.Equal(leaf) {
			t.Errorf("%s.p12: not the same certificate: %v", name, err)
		}
	}
}

func TestInitRefusesToOverwriteUnlessForced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "client.p12"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := devpki.Init(dir, devpki.FileOptions{})
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "client.p12") {
		t.Errorf("error = %v, want one that names client.p12", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the refusal left %v behind", entries)
	}
	if err := devpki.Init(dir, devpki.FileOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(read(t, dir, "client.p12"), []byte("mine")) {
		t.Error("Force did not replace client.p12")
	}
}

func TestIssueIntoAddsAnIdentityOfTheSameAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := devpki.Init(dir, devpki.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir, "ca.pem")
	if err := devpki.IssueInto(dir, "alice", devpki.FileOptions{Validity: time.Hour}); err != nil {
		t.Fatal(err)
	}
	ca, err := devpki.LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, ca.PEM()) {
		t.Error("the CA changed")
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "alice.pem"), filepath.Join(dir, "alice-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()}); err != nil {
		t.Error(err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Errorf("lasts %s, asked for an hour", left)
	}
	if err := devpki.IssueInto(dir, "alice", devpki.FileOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second alice: %v", err)
	}
}

func TestIssueIntoLastsNoLongerThanItsAuthorityUnlessTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if devpki.HasCA(dir) {
		t.Error("HasCA of an empty directory")
	}
	if err := devpki.Init(dir, devpki.FileOptions{Validity: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if !devpki.HasCA(dir) {
		t.Error("not HasCA after Init")
	}
	if err := devpki.IssueInto(dir, "alice", devpki.FileOptions{OrganizationalUnits: []string{"eng", "ops"}}); err != nil {
		t.Fatal(err)
	}
	ca, err := devpki.LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "alice.pem"), filepath.Join(dir, "alice-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if end := ca.Certificate().NotAfter; !pair.Leaf.NotAfter.Equal(end) {
		t.Errorf("ends at %v, its CA at %v", pair.Leaf.NotAfter, end)
	}
	if units := pair.Leaf.Subject.OrganizationalUnit; !slices.Equal(units, []string{"eng", "ops"}) {
		t.Errorf("organizational units %q", units)
	}
}

func TestIssueIntoRefuses(t *testing.T) {
	t.Parallel()
	good := t.TempDir()
	if err := devpki.Init(good, devpki.FileOptions{Validity: time.Hour}); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := devpki.Init(other, devpki.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := t.TempDir()
	past, err := devpki.NewCA(devpki.Options{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	pastKey, err := x509.MarshalPKCS8PrivateKey(past.Key())
	if err != nil {
		t.Fatal(err)
	}
	pastKeyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pastKey})
	for name, data := range map[string][]byte{"ca.pem": past.PEM(), "ca-key.pem": pastKeyPEM} {
		if err := os.WriteFile(filepath.Join(ended, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// with is a copy of good's CA with one file changed.
	with := func(name string, content []byte) string {
		dir := t.TempDir()
		for _, file := range []string{"ca.pem", "ca-key.pem"} {
			data := read(t, good, file)
			if file == name {
				data = content
			}
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, test := range []struct {
		name, dir, id string
		opts          devpki.FileOptions
		want          string // part of the error
	}{
		{name: "no name", dir: good, id: "", want: "empty"},
		{name: "a path", dir: good, id: "../alice", want: "slash"},
		{name: "a Windows path", dir: good, id: `..\alice`, want: "slash"},
		{name: "a hidden file", dir: good, id: ".alice", want: "dot"},
		{name: "the CA's name", dir: good, id: "ca", want: "another"},
		{name: "a key's name", dir: good, id: "server-key", want: "another"},
		{name: "longer than the CA lasts", dir: good, id: "alice", opts: devpki.FileOptions{Validity: 2 * time.Hour}, want: "outlive"},
		{name: "a CA that has ended", dir: ended, id: "alice", want: "make a new one (certs init)"},
		{name: "negative validity", dir: good, id: "alice", opts: devpki.FileOptions{Validity: -1}, want: "negative"},
		{name: "bad URI", dir: good, id: "alice", opts: devpki.FileOptions{URIs: []string{"x"}}, want: `"x"`},
		{name: "no CA there", dir: t.TempDir(), id: "alice", want: "certs init"},
		{name: "garbage for a CA", dir: with("ca.pem", []byte("garbage")), id: "alice", want: "ca.pem"},
		{name: "a leaf for a CA", dir: with("ca.pem", read(t, good, "server.pem")), id: "alice", want: "not the certificate of a CA"},
		{name: "a CA that does not parse", dir: with("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")})), id: "alice", want: "ca.pem: x509: malformed"},
		{name: "a key that does not parse", dir: with("ca-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("garbage")})), id: "alice", want: "ca-key.pem: "},
		{name: "empty key", dir: with("ca-key.pem", nil), id: "alice", want: "ca-key.pem"},
		{name: "another CA's key", dir: with("ca-key.pem", read(t, other, "ca-key.pem")), id: "alice", want: "not the key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			before := list(t, test.dir)
			err := devpki.IssueInto(test.dir, test.id, test.opts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one with %q", err, test.want)
			}
			if after := list(t, test.dir); !slices.Equal(before, after) {
				t.Errorf("left %v where there was %v", after, before)
			}
		})
	}
}

func TestInitRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, dir string
		opts      devpki.FileOptions
		want      string
	}{
		{"an end before the beginning", filepath.Join(t.TempDir(), "certs"), devpki.FileOptions{Validity: -time.Hour}, "validity -1h0m0s: negative"},
		{"a unit that is too long", filepath.Join(t.TempDir(), "certs"), devpki.FileOptions{OrganizationalUnits: []string{strings.Repeat("x", 65)}}, `identity "server": certificate request: name "xxx`},
		{"a file for a directory", filepath.Join(file, "certs"), devpki.FileOptions{}, "making the directory: "},
	} {
		if err := devpki.Init(test.dir, test.opts); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: error = %v, want %q", test.name, err, test.want)
		}
		if _, err := os.Stat(test.dir); err == nil {
			t.Errorf("%s: there is a directory now", test.name)
		}
	}
}

func TestAWriteThatFailsLeavesNoTemporaryFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A directory cannot be replaced by a file.
	if err := os.MkdirAll(filepath.Join(dir, "ca.pem", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := devpki.Init(dir, devpki.FileOptions{Force: true})
	if err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("error = %v, want one that names ca.pem", err)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"ca.pem"}) {
		t.Errorf("left %v", names)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
