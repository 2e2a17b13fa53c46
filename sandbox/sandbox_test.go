//go:build linux

package sandbox_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sallyport/sandbox"
)

// Each version of Landlock forbids more.
const (
	abiFiles = 1
	abiPorts = 4
	abiScope = 6
)

// forbidden is what the kernel says to files, and to ports, that the rules do not name.
const forbidden = "permission denied"

func write(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, target, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// listen listens on a network until the test ends, and answers nobody.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func portOf(ln net.Listener) uint16 { return uint16(ln.Addr().(*net.TCPAddr).Port) }

// outcome is an attempt, and whether it has to succeed.
type outcome struct {
	attempt

	ok bool
}

func can(do, what string) outcome    { return outcome{attempt{do, what}, true} }
func cannot(do, what string) outcome { return outcome{attempt{do, what}, false} }

// check tries what is to succeed and what is to be forbidden.
func check(t *testing.T, abi int, r sandbox.Rules, outcomes ...outcome) {
	t.Helper()
	var attempts []attempt
	for _, o := range outcomes {
		attempts = append(attempts, o.attempt)
	}
	for i, result := range try(t, abi, r, attempts...) {
		o := outcomes[i]
		switch {
		case o.ok && result != "":
			t.Errorf("%s %s: %s; it is allowed", o.Do, o.What, result)
		case !o.ok && result == "":
			t.Errorf("%s %s: succeeds; it is not allowed", o.Do, o.What)
		case !o.ok && !strings.Contains(result, forbidden) && !strings.Contains(result, "not permitted"):
			t.Errorf("%s %s: fails with %q, and not because it is forbidden", o.Do, o.What, result)
		}
	}
}

func TestNothingIsAllowedThatNoRuleNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := write(t, filepath.Join(dir, "secret"))
	socket := filepath.Join(dir, "socket")
	port := listen(t, "tcp", "127.0.0.1:0")
	free := listen(t, "tcp", "127.0.0.1:0")
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, abiPorts, sandbox.Rules{},
		cannot("read", secret), cannot("read", "/etc/shadow"), cannot("read", "/proc/self/environ"),
		cannot("list", dir), cannot("list", "/"),
		cannot("write", filepath.Join(dir, "new")), cannot("mkdir", filepath.Join(dir, "newdir")),
		cannot("execute", "/bin/true"),
		cannot("tcp", port.Addr().String()), cannot("listen tcp", address), cannot("listen unix", socket),
	)
}

func TestFilesAreReadInTheirDirectoriesAndNotWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert := write(t, filepath.Join(dir, "tls/cert.pem"))
	next := write(t, filepath.Join(dir, "tls/next.pem"))
	outside := write(t, filepath.Join(dir, "outside.pem"))
	check(t, abiFiles, sandbox.Rules{Files: []string{cert, ""}},
		can("read", cert), can("read", next), cannot("read", outside),
		cannot("write", filepath.Join(dir, "tls/new")), cannot("rename", cert))
}

func TestFilesAreReadWhereLinksLeadTo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// As certbot does it.
	archived := write(t, filepath.Join(dir, "archive/web/cert1.pem"))
	renewed := write(t, filepath.Join(dir, "archive/web/cert2.pem"))
	other := write(t, filepath.Join(dir, "archive/mail/cert1.pem"))
	live := link(t, "../../archive/web/cert1.pem", filepath.Join(dir, "live/web/cert.pem"))
	// As Kubernetes does it.
	write(t, filepath.Join(dir, "secret/..2026_01/key.pem"))
	next := write(t, filepath.Join(dir, "secret/..2026_02/key.pem"))
	link(t, "..2026_01", filepath.Join(dir, "secret/..data"))
	key := link(t, "..data/key.pem", filepath.Join(dir, "secret/key.pem"))
	// As releases are swapped.
	write(t, filepath.Join(dir, "app/releases/1/ca.pem"))
	release := write(t, filepath.Join(dir, "app/releases/2/ca.pem"))
	appSecret := write(t, filepath.Join(dir, "app/secret"))
	link(t, "releases/1", filepath.Join(dir, "app/current"))
	// As the system has it: a directory is elsewhere.
	write(t, filepath.Join(dir, "run/tls/crl.pem"))
	runSecret := write(t, filepath.Join(dir, "run/secret"))
	link(t, "../run", filepath.Join(dir, "var/run"))
	crl := filepath.Join(dir, "var/run/tls/crl.pem")

	check(t, abiFiles, sandbox.Rules{Files: []string{live, key, filepath.Join(dir, "app/current/ca.pem"), crl}},
		can("read", live), can("read", archived), can("read", renewed), cannot("read", other),
		can("read", key), can("read", next),
		can("read", filepath.Join(dir, "app/current/ca.pem")), can("read", release), cannot("read", appSecret),
		can("read", crl), cannot("read", runSecret))
}

func TestAFileBelowTheRootIsReadAlone(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	outside := write(t, filepath.Join(t.TempDir(), "outside"))
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			check(t, abiFiles, sandbox.Rules{Files: []string{"/" + entry.Name()}}, can("read", "/"+entry.Name()), cannot("read", outside))
			return
		}
	}
	// No file there: the next best thing is one that could be.
	check(t, abiFiles, sandbox.Rules{Files: []string{"/missing.pem"}}, cannot("read", outside), cannot("list", "/"))
}

func TestWriteDirsAreWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := write(t, filepath.Join(dir, "store/sub/kept"))
	check(t, abiFiles, sandbox.Rules{WriteDirs: []string{filepath.Join(dir, "store"), filepath.Join(dir, "missing")}},
		can("read", kept), can("write", filepath.Join(dir, "store/sub/new")), can("rename", kept),
		can("mkdir", filepath.Join(dir, "store/newdir")),
		cannot("write", filepath.Join(dir, "new")), cannot("mkdir", filepath.Join(dir, "missing")), cannot("execute", kept))
}

func TestUNIXSockets(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sp") // its paths are short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	listen(t, "unix", filepath.Join(dir, "out/target"))
	beside := write(t, filepath.Join(dir, "in/beside"))
	check(t, abiFiles, sandbox.Rules{
		ListenSockets: []string{filepath.Join(dir, "in/listen")},
		DialSockets:   []string{filepath.Join(dir, "out/target"), filepath.Join(dir, "later/target")},
	},
		can("listen unix", filepath.Join(dir, "in/listen")), cannot("listen unix", filepath.Join(dir, "out/other")),
		can("unix", filepath.Join(dir, "out/target")),
		cannot("read", beside), cannot("write", filepath.Join(dir, "in/new")))
}

func TestAbstractSocketsAreDialledIfOneIsNamed(t *testing.T) {
	t.Parallel()
	name := "@" + filepath.Base(t.TempDir()) + t.Name()
	listen(t, "unix", name)
	check(t, abiScope, sandbox.Rules{DialSockets: []string{name}}, can("unix", name))
	check(t, abiScope, sandbox.Rules{DialSockets: []string{"/nowhere/target"}}, cannot("unix", name))
}

func TestPortsAreThoseThatAreNamed(t *testing.T) {
	t.Parallel()
	target, other := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	free := listen(t, "tcp", "127.0.0.1:0")
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, abiPorts, sandbox.Rules{ConnectPorts: []uint16{portOf(target)}, BindPorts: []uint16{portOf(free)}},
		can("tcp", target.Addr().String()), cannot("tcp", other.Addr().String()), cannot("tcp", "127.0.0.1:53"),
		can("listen tcp", address), cannot("listen tcp", "127.0.0.1:0"))
}

// TestEveryInterfaceIsIPv6Too: package net finds out whether there is IPv6 by
// what the sandbox forbids.
func TestEveryInterfaceIsIPv6Too(t *testing.T) {
	t.Parallel()
	free := listen(t, "tcp", ":0")
	if free.Addr().(*net.TCPAddr).IP.To4() != nil {
		t.Skip("there is no IPv6 here")
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, abiPorts, sandbox.Rules{BindPorts: []uint16{portOf(free)}},
		can("listen on IPv6 too", ":"+strconv.Itoa(int(portOf(free)))))
}

func TestResolverReadsItsFilesAndNoOthers(t *testing.T) {
	t.Parallel()
	check(t, abiFiles, sandbox.Rules{Resolver: true},
		can("read", "/etc/resolv.conf"), can("read", "/etc/hosts"), can("look up", "localhost"),
		cannot("read", "/etc/shadow"), cannot("list", "/etc"))
	// Whether a DNS server listens there is another matter.
	if got := try(t, abiPorts, sandbox.Rules{Resolver: true}, attempt{"tcp", "127.0.0.1:53"})[0]; strings.Contains(got, forbidden) {
		t.Errorf("connecting to a DNS server: %s", got)
	}
}

func TestItselfIsSeenInProcAndOthersAreNot(t *testing.T) {
	t.Parallel()
	check(t, abiFiles, sandbox.Rules{Itself: true},
		can("read", "/proc/self/stat"), can("read", "/proc/self/limits"), can("list", "/proc/self/fd"), can("read", "/proc/self/net/netstat"),
		can("read", "/proc/stat"), cannot("read", "/proc/1/environ"), cannot("read", "/proc/1/stat"), cannot("list", "/proc"))
}

func TestSystemTrustIsWhereTheEnvironmentSays(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "bundle/ca.pem"))
	own := write(t, filepath.Join(dir, "certs/own.pem"))
	linked := write(t, filepath.Join(dir, "elsewhere/linked.pem"))
	beside := write(t, filepath.Join(dir, "elsewhere/beside.pem"))
	link(t, linked, filepath.Join(dir, "certs/linked.pem"))
	t.Setenv("SSL_CERT_FILE", file)
	t.Setenv("SSL_CERT_DIR", filepath.Join(dir, "missing")+":"+filepath.Join(dir, "certs"))
	check(t, abiFiles, sandbox.Rules{SystemTrust: true},
		can("read", file), can("list", filepath.Join(dir, "certs")), can("read", own), can("read", linked), cannot("read", beside))
	check(t, abiFiles, sandbox.Rules{}, cannot("read", file), cannot("read", own))
}

func TestProxiesAreWhereTheEnvironmentSays(t *testing.T) {
	plain, secure, other := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	t.Setenv("HTTP_PROXY", plain.Addr().String())
	t.Setenv("HTTPS_PROXY", "socks5://"+secure.Addr().String())
	check(t, abiPorts, sandbox.Rules{Proxies: true},
		can("tcp", plain.Addr().String()), can("tcp", secure.Addr().String()), cannot("tcp", other.Addr().String()))
	check(t, abiPorts, sandbox.Rules{}, cannot("tcp", plain.Addr().String()))
}
