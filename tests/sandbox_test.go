package tests

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// The lines that tell of the sandbox.
const (
	sandboxed   = "running in a sandbox"
	unsandboxed = "running without a sandbox"
)

// needSandbox skips the test where p found that there is no Landlock.
func needSandbox(t *testing.T, p *process) {
	t.Helper()
	if len(p.lines(unsandboxed, "this system has no Landlock")) > 0 {
		skip(t, "no Landlock here: it takes Linux 5.13")
	}
	p.waitLine(t, sandboxed, "landlock_abi=")
}

// TestSandboxIsSaidToBeOnOrOff at every start.
func TestSandboxIsSaidToBeOnOrOff(t *testing.T) {
	t.Parallel()
	p, service := newPKI(t), serve(t, "tcp", echo)
	for _, args := range [][]string{nil, {"--use-landlock"}, {"--no-use-landlock"}} {
		server := startServer(t, p, reserve(t), service.address, append(args, "--allow-all")...)
		needSandbox(t, server)
		server.stop(t)
	}
	server := startServer(t, p, reserve(t), service.address, "--allow-all", "--disable-landlock")
	server.waitLine(t, unsandboxed, "--disable-landlock")
	server.stop(t)
}

func TestPKCS11SwitchesTheSandboxOff(t *testing.T) {
	t.Parallel()
	hsm, p := newSoftHSM(t, "sandbox"), newPKI(t)
	id := p.server(t)
	hsm.importKey(t, "sandbox", "01", id)
	server := hsm.start(t, append(hsm.flags("sandbox", id.cert), "server", "--listen", reserve(t),
		"--target", reserve(t), "--allow-all", "--cacert", p.root, "--status", "http://"+reserve(t))...)
	server.waitLine(t, unsandboxed, "--pkcs11-module")
	server.stop(t)
}

// TestSandboxHoldsReloadsToWhereTheFilesWere: a link may be swapped for another
// to the same place, as certbot does it; one to somewhere else is refused, and
// what was loaded before serves on.
func TestSandboxHoldsReloadsToWhereTheFilesWere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		free bool // the link may lead anywhere
	}{
		{"in the sandbox", nil, false},
		{"without it", []string{"--disable-landlock"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, dir, listen := newPKI(t), t.TempDir(), reserve(t)
			place := func(path string) *x509.Certificate {
				t.Helper()
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
					t.Fatal(err)
				}
				id := p.issue(t, filepath.Base(path), devpki.Request{CommonName: path, DNSNames: []string{"localhost"}})
				writeFile(t, filepath.Join(dir, path), id.CombinedPEM())
				return id.Leaf
			}
			first, renewed, elsewhere := place("archive/1.pem"), place("archive/2.pem"), place("elsewhere/3.pem")
			live := filepath.Join(dir, "live", "id.pem")
			if err := os.Mkdir(filepath.Dir(live), 0o700); err != nil {
				t.Fatal(err)
			}
			point := func(target string) {
				t.Helper()
				if err := os.Symlink(target, live+".new"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(live+".new", live); err != nil {
					t.Fatal(err)
				}
			}
			point("../archive/1.pem")
			server := start(t, append(test.args, "server", "--keystore", live, "--cacert", p.root, "--no-watch-files",
				"--listen", listen, "--target", serve(t, "tcp", echo).address, "--allow-all", "--status", "http://"+reserve(t))...)
			if !test.free {
				needSandbox(t, server)
			}
			config := p.clientConfig(p.client(t))
			serves := func(when string, want *x509.Certificate) {
				t.Helper()
				if got := shown(t, listen, config); !got.Equal(want) {
					t.Errorf("%s: serves %s, want %s", when, got.Subject.CommonName, want.Subject.CommonName)
				}
			}
			serves("at first", first)
			point("../archive/2.pem")
			server.signal(t, syscall.SIGHUP)
			server.waitLines(t, 1, "msg=reloaded")
			serves("after it was renewed", renewed)
			point("../elsewhere/3.pem")
			server.signal(t, syscall.SIGHUP)
			if test.free {
				server.waitLines(t, 2, "msg=reloaded")
				serves("after it went elsewhere", elsewhere)
			} else {
				server.waitLine(t, "--keystore "+live, "permission denied")
				serves("after it went elsewhere", renewed)
			}
			server.stop(t)
		})
	}
}

// TestFirstLookUpIsInTheSandbox: neither a name nor what the system trusts has
// been needed before.
func TestFirstLookUpIsInTheSandbox(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		skip(t, "SSL_CERT_FILE and SSL_CERT_DIR are for Linux")
	}
	p := newPKI(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	trusted := t.TempDir()
	if err := os.Symlink(p.root, filepath.Join(trusted, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"SSL_CERT_FILE=" + p.root, "SSL_CERT_DIR=" + trusted} {
		listen := reserve(t)
		client := startUnready(t, []string{variable}, append(p.client(t).flags(), "client", "--listen", listen, "--skip-resolve",
			"--target", net.JoinHostPort("localhost", port(t, service.address)), "--status", "http://"+reserve(t))...)
		client.waitReady(t)
		if err := through(t, listen); err != nil {
			t.Errorf("%s: %v", variable, err)
		}
		client.stop(t)
	}
}
