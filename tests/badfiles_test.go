package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUnusableFilesEndTheStart starts a server with files that it cannot use:
// it ends with 1 and one line that names the flag and the file.
func TestUnusableFilesEndTheStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	good, other := p.server(t), p.client(t)
	keystore, err := good.PKCS12("right")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) string {
		path := filepath.Join(p.dir, name)
		writeFile(t, path, data)
		return path
	}
	empty := file("empty.pem", nil)
	garbage := file("garbage.pem", []byte("this is no certificate\n"))
	truncated := file("truncated.pem", good.CertPEM()[:200])
	p12 := file("keystore.p12", keystore)
	brokenP12 := file("broken.p12", keystore[:len(keystore)/2])
	password := file("password", []byte("right\n"))
	missing := filepath.Join(p.dir, "missing.pem")
	directory := t.TempDir()

	tests := []struct {
		name  string
		flags []string
		want  []string // what the line names
	}{
		{"no certificate file", []string{"--cert", missing, "--key", good.key}, []string{"--cert " + missing}},
		{"no key file", []string{"--cert", good.cert, "--key", missing}, []string{"--key " + missing}},
		{"a directory for a key", []string{"--cert", good.cert, "--key", directory}, []string{"--key " + directory}},
		{"an empty certificate file", []string{"--cert", empty, "--key", good.key}, []string{"--cert " + empty}},
		{"an empty key file", []string{"--cert", good.cert, "--key", empty}, []string{"--key " + empty}},
		{"garbage for a certificate", []string{"--cert", garbage, "--key", good.key}, []string{"--cert " + garbage}},
		{"garbage for a key", []string{"--cert", good.cert, "--key", garbage}, []string{"--key " + garbage}},
		{"a truncated certificate", []string{"--cert", truncated, "--key", good.key}, []string{"--cert " + truncated}},
		{"another certificate's key", []string{"--cert", good.cert, "--key", other.key}, []string{"--key " + other.key, good.cert}},
		{"a wrong password", []string{"--keystore", p12, "--storepass", "wr0ng-secret"}, []string{"--keystore " + p12, "password"}},
		{"no password", []string{"--keystore", p12}, []string{"--keystore " + p12, "password"}},
		{"a truncated keystore", []string{"--keystore", brokenP12, "--storepass-file", password}, []string{"--keystore " + brokenP12}},
		{"an empty keystore", []string{"--keystore", empty}, []string{"--keystore " + empty}},
		{"a keystore without a key", []string{"--keystore", good.cert}, []string{"--keystore " + good.cert}},
		{"no password file", []string{"--keystore", p12, "--storepass-file", missing}, []string{"--storepass-file " + missing}},
		{"no trust file", append(good.flags(), "--cacert", missing), []string{"--cacert " + missing}},
		{"an empty trust file", append(good.flags(), "--cacert", empty), []string{"--cacert " + empty}},
		{"garbage for trust", append(good.flags(), "--cacert", garbage), []string{"--cacert " + garbage}},
		{"a truncated trust file", append(good.flags(), "--cacert", truncated), []string{"--cacert " + truncated}},
	}
	if os.Getuid() != 0 { // root reads everything
		secret := file("secret.pem", good.KeyPEM())
		if err := os.Chmod(secret, 0); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, struct {
			name  string
			flags []string
			want  []string
		}{"an unreadable key", []string{"--cert", good.cert, "--key", secret}, []string{"--key " + secret}})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all"}
			if !slices.Contains(test.flags, "--cacert") {
				args = append(args, "--cacert", p.root)
			}
			code, stdout, stderr := run(t, append(args, test.flags...)...)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if stdout != "" {
				t.Errorf("standard output %q, want none", stdout)
			}
			if !strings.HasPrefix(stderr, "sallyport: ") || strings.Count(stderr, "\n") != 1 || !containsAll(stderr, test.want) {
				t.Errorf("standard error %q, want one line with %q", stderr, test.want)
			}
			if strings.Contains(stderr, "wr0ng-secret") {
				t.Errorf("standard error shows the password: %s", stderr)
			}
		})
	}
}
