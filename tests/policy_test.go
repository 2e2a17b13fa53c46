package tests

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

const (
	// forAliceV0 is a policy in the language that .rego files are in.
	forAliceV0 = "package access\n\nimport input\n\ndefault allow = false\n\nallow { input.certificate.Subject.CommonName == \"alice\" }\n"

	// forAliceV1 is one in the language that bundles are in.
	forAliceV1 = "package access\n\ndefault allow := false\n\nallow if input.certificate.Subject.CommonName in data.people\n"

	// alicesName is the data for it.
	alicesName = `{"people": ["alice"]}`

	policyQuery = "data.access.allow"
)

// policyForms are the forms that a policy for alice can come in; they are made
// in an empty directory.
var policyForms = map[string]func(t *testing.T, dir string) (path string){
	"file": func(t *testing.T, dir string) string {
		path := filepath.Join(dir, "access.rego")
		writeFile(t, path, []byte(forAliceV0))
		return path
	},
	"directory": func(t *testing.T, dir string) string {
		writeFile(t, filepath.Join(dir, "access.rego"), []byte(forAliceV1))
		writeFile(t, filepath.Join(dir, "data.json"), []byte(alicesName))
		return dir
	},
	"archive": func(t *testing.T, dir string) string {
		path := filepath.Join(dir, "bundle.tar.gz")
		writeFile(t, path, packBundle(t, map[string]string{"access.rego": forAliceV1, "data.json": alicesName}))
		return path
	},
}

// packBundle makes a bundle's archive.
func packBundle(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	tape := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := tape.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tape, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tape.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// policyFile makes a policy of one file, and returns its path.
func policyFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.rego")
	writeFile(t, path, []byte(content))
	return path
}

func TestPolicyLetsInWhomItAllows(t *testing.T) {
	t.Parallel()
	for name, form := range policyForms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
			server := startServer(t, p, listen, service.address, "--allow-policy", form(t, t.TempDir()), "--allow-query", policyQuery)
			if err := attempt(t, listen, p.clientConfig(p.issue(t, "alice", alice))); err != nil {
				t.Errorf("alice: %v", err)
			}
			if attempt(t, listen, p.clientConfig(p.issue(t, "bob", bob))) == nil {
				t.Error("bob was let in")
			}
			server.waitLine(t, "error on TLS handshake", "reason=policy_denied", "spiffe://test/other/bob")
			if n := service.connections(); n != 1 {
				t.Errorf("the target has seen %d connections, want alice's alone", n)
			}
			server.stop(t)
		})
	}
}

func TestPolicyAndFlagsEachLetIn(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address,
		"--allow-policy", policyFile(t, forAliceV0), "--allow-query", policyQuery, "--allow-cn", "bob")
	for name, request := range map[string]devpki.Request{"alice": alice, "bob": bob} {
		if err := attempt(t, listen, p.clientConfig(p.issue(t, name, request))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if attempt(t, listen, p.clientConfig(p.issue(t, "carol", devpki.Request{CommonName: "carol"}))) == nil {
		t.Error("carol was let in")
	}
	server.stop(t)
}

func TestPolicySeesTheConnection(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for version, name := range map[uint16]string{tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listen := reserve(t)
			server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-query", policyQuery, "--allow-policy", policyFile(t, `package access
allow {
	input.tls.version == "`+name+`"
	input.tls.sni == "localhost"
	input.tls.alpn == ""
	startswith(input.tls.cipher, "TLS_")
	startswith(input.remote, "127.0.0.1:")
	net.cidr_contains("127.0.0.0/8", input.remote_ip)
}`))
			config := p.clientConfig(p.client(t))
			config.MinVersion, config.MaxVersion = version, version
			if err := attempt(t, listen, config); err != nil {
				t.Error(err)
			}
			config.MinVersion = tls.VersionTLS12
			if config.MaxVersion = tls.VersionTLS12; version == tls.VersionTLS12 {
				config.MaxVersion = tls.VersionTLS13
			}
			if attempt(t, listen, config) == nil {
				t.Error("let in with the other version")
			}
			server.stop(t)
		})
	}
}

// TestPolicyThatComesToNoDecisionRefuses has a client that would be let in, if
// only there was an answer.
func TestPolicyThatComesToNoDecisionRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ rule, reason string }{
		"undefined":        {`allow { input.certificate.Subject.CommonName == "nobody" }`, "policy_denied"},
		"false":            {`allow = false`, "policy_denied"},
		"not a boolean":    {`allow = "true"`, "policy_error"},
		"an error":         {`allow { not denied }` + "\n" + `denied { to_number(input.certificate.Subject.CommonName) == 1 }`, "policy_error"},
		"takes for ever":   {`allow { numbers.range(1, 3000000)[_] + numbers.range(1, 3000000)[_] == -1 }` + "\n" + `allow { true }`, "policy_error"},
		"for ever, beside": {`allow { count([x | x = numbers.range(1, 3000000)[_]; numbers.range(1, 3000000)[_] == -1]) == 0 }`, "policy_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
			server := startServer(t, p, listen, service.address, "--connect-timeout", "2s",
				"--allow-policy", policyFile(t, "package access\n"+test.rule), "--allow-query", policyQuery)
			if attempt(t, listen, p.clientConfig(p.client(t))) == nil {
				t.Error("let in")
			}
			server.waitLine(t, "error on TLS handshake", "reason="+test.reason)
			if n := service.connections(); n != 0 {
				t.Errorf("the target has seen %d connections", n)
			}
			server.stop(t)
		})
	}
}

// TestPolicyThatTurnsRefusesResumedSessions has a client resume its session
// until the policy denies, in each way that a reload can be asked for.
func TestPolicyThatTurnsRefusesResumedSessions(t *testing.T) {
	t.Parallel()
	asked := map[string]struct {
		flags []string
		ask   func(*testing.T, *process)
	}{
		"SIGHUP":     {[]string{"--no-watch-files"}, func(t *testing.T, p *process) { p.signal(t, syscall.SIGHUP) }},
		"SIGUSR1":    {[]string{"--no-watch-files"}, func(t *testing.T, p *process) { p.signal(t, syscall.SIGUSR1) }},
		"timer":      {[]string{"--no-watch-files", "--timed-reload", "100ms"}, func(*testing.T, *process) {}},
		"file watch": {nil, func(*testing.T, *process) {}},
	}
	for name, by := range asked {
		for version, number := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
			t.Run(name+", "+version, func(t *testing.T) {
				t.Parallel()
				p, listen, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
				path := policyFile(t, "package access\nallow = true\n")
				server := startServer(t, p, listen, service.address,
					append(by.flags, "--allow-policy", path, "--allow-query", policyQuery)...)
				config := p.clientConfig(p.client(t))
				config.MaxVersion = number
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for _, want := range []bool{false, true, true} {
					if resumed, err := visit(t, listen, config); err != nil || resumed != want {
						t.Fatalf("resumed %t, %v; want %t", resumed, err, want)
					}
				}
				established := connect(t, listen, config)
				if err := echoes(established); err != nil {
					t.Fatal(err)
				}
				forwarded := service.connections()
				replaceFile(t, path, []byte("package access\nallow = false\n"))
				by.ask(t, server)
				if name == "timer" {
					server.waitLines(t, len(server.lines("msg=reloaded"))+2, "msg=reloaded")
				} else {
					server.waitLine(t, "msg=reloaded")
				}
				if resumed, err := visit(t, listen, config); err == nil {
					t.Errorf("let in after the policy turned (resumed %t)", resumed)
				}
				server.waitLine(t, "error on TLS handshake", "reason=policy_denied", "data.access.allow is false")
				if n := service.connections(); n != forwarded {
					t.Error("the target was connected to")
				}
				if err := echoes(established); err != nil {
					t.Errorf("the connection that was open: %v", err)
				}
				if err := established.Close(); err != nil {
					t.Error(err)
				}
				server.stop(t)
			})
		}
	}
}

// visit makes a connection, and tells whether it resumed a session.
func visit(t *testing.T, address string, config *tls.Config) (resumed bool, err error) {
	t.Helper()
	conn := tls.Client(dial(t, "tcp", address), config)
	defer conn.Close()
	if err := echoes(conn); err != nil {
		return conn.ConnectionState().DidResume, err
	}
	// The end tells of the ticket that comes with it in TLS 1.3.
	if err := conn.CloseWrite(); err != nil {
		return false, err
	}
	_, err = io.ReadAll(conn)
	return conn.ConnectionState().DidResume, err
}

// TestPolicyIsReloadedWholeOrNotAtAll goes from alice to bob, with something in
// between that cannot be compiled.
func TestPolicyIsReloadedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	const damaged = "package access\nallow {"
	bobsName := strings.ReplaceAll(alicesName, "alice", "bob")
	for name, next := range map[string]struct {
		damage, mend func(t *testing.T, path string)
	}{
		"file": {
			func(t *testing.T, path string) { replaceFile(t, path, []byte(damaged)) },
			func(t *testing.T, path string) {
				replaceFile(t, path, []byte(strings.ReplaceAll(forAliceV0, "alice", "bob")))
			},
		},
		"directory": {
			func(t *testing.T, path string) { writeFile(t, filepath.Join(path, "more.rego"), []byte(damaged)) },
			func(t *testing.T, path string) {
				if err := os.Remove(filepath.Join(path, "more.rego")); err != nil {
					t.Fatal(err)
				}
				replaceFile(t, filepath.Join(path, "data.json"), []byte(bobsName))
			},
		},
		"archive": {
			func(t *testing.T, path string) {
				replaceFile(t, path, packBundle(t, map[string]string{"access.rego": damaged}))
			},
			func(t *testing.T, path string) {
				replaceFile(t, path, packBundle(t, map[string]string{"access.rego": forAliceV1, "data.json": bobsName}))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen, path := newPKI(t), reserve(t), policyForms[name](t, t.TempDir())
			server := startServer(t, p, listen, serve(t, "tcp", echo).address,
				"--no-watch-files", "--allow-policy", path, "--allow-query", policyQuery)
			visitor := p.clientConfig(p.issue(t, "alice", alice))
			stranger := p.clientConfig(p.issue(t, "bob", bob))
			if err := attempt(t, listen, visitor); err != nil {
				t.Fatal(err)
			}

			next.damage(t, path)
			server.signal(t, syscall.SIGHUP)
			server.waitLine(t, "reload failed", "--allow-policy "+path)
			if err := attempt(t, listen, visitor); err != nil {
				t.Errorf("alice, after a reload that failed: %v", err)
			}
			if attempt(t, listen, stranger) == nil {
				t.Error("bob was let in after a reload that failed")
			}

			next.mend(t, path)
			server.signal(t, syscall.SIGHUP)
			server.waitLine(t, "msg=reloaded")
			if err := attempt(t, listen, stranger); err != nil {
				t.Errorf("bob: %v", err)
			}
			if attempt(t, listen, visitor) == nil {
				t.Error("alice was let in")
			}
			server.stop(t)
		})
	}
}

// TestChangedBundleDirectoryIsNoticed has a file join a directory.
func TestChangedBundleDirectoryIsNoticed(t *testing.T) {
	t.Parallel()
	p, listen, dir := newPKI(t), reserve(t), t.TempDir()
	server := startServer(t, p, listen, serve(t, "tcp", echo).address,
		"--allow-policy", policyForms["directory"](t, dir), "--allow-query", policyQuery)
	visitor := p.clientConfig(p.issue(t, "bob", bob))
	if attempt(t, listen, visitor) == nil {
		t.Fatal("bob was let in at once")
	}
	writeFile(t, filepath.Join(dir, "more.rego"), []byte("package access\n\nallow if input.certificate.Subject.CommonName == \"bob\"\n"))
	server.waitLine(t, "msg=reloaded")
	if err := attempt(t, listen, visitor); err != nil {
		t.Errorf("bob: %v", err)
	}
	server.stop(t)
}

// TestPolicyTakesEffectThoughTheIdentityDoesNot has both change, one of them for
// the worse.
func TestPolicyTakesEffectThoughTheIdentityDoesNot(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	path := policyFile(t, forAliceV0)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address,
		"--no-watch-files", "--allow-policy", path, "--allow-query", policyQuery)
	config := p.clientConfig(p.issue(t, "alice", alice))
	if err := attempt(t, listen, config); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, p.root, []byte("garbage"))
	replaceFile(t, path, []byte("package access\nallow = false\n"))
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "reload failed", "--cacert")
	if attempt(t, listen, config) == nil {
		t.Error("let in by the policy that was")
	}
	server.waitLine(t, "reason=policy_denied")
	server.stop(t)
}

func TestPolicyAcceptsTargets(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	path := policyFile(t, `package access
allow {
	input.certificate.URIs[_].Path == "/team/alice"
	input.tls.sni == "localhost"
	startswith(input.remote, "127.0.0.1:")
}`)
	for _, test := range []struct {
		name    string
		request devpki.Request
		accept  bool
	}{{"alice", alice, true}, {"bob", bob, false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			target := serve(t, "tcp", overTLS(p.targetConfig(p.issue(t, test.name, test.request)), echo))
			listen := reserve(t)
			_, port, err := net.SplitHostPort(target.address)
			if err != nil {
				t.Fatal(err)
			}
			client := startClient(t, p, listen, net.JoinHostPort("127.0.0.1", port), "--override-server-name", "localhost",
				"--no-watch-files", "--verify-policy", path, "--verify-query", policyQuery)
			visit := func() error {
				conn := dial(t, "tcp", listen)
				defer conn.Close()
				return echoes(conn)
			}
			for range 2 {
				if err := visit(); (err == nil) != test.accept {
					t.Errorf("accepted %t, want %t (%v)", err == nil, test.accept, err)
				}
			}
			if !test.accept {
				client.waitLines(t, 2, "reason=policy_denied", "spiffe://test/other/bob")
				replaceFile(t, path, []byte("package access\nallow = true\n"))
				client.signal(t, syscall.SIGHUP)
				client.waitLine(t, "msg=reloaded")
				if err := visit(); err != nil {
					t.Errorf("after the policy turned: %v", err)
				}
			}
			client.stop(t)
		})
	}
}

func TestUnusablePolicyKeepsFromStarting(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for name, test := range map[string]struct{ path, query, want string }{
		"missing":         {filepath.Join(t.TempDir(), "none.rego"), policyQuery, "no such file"},
		"damaged":         {policyFile(t, "package access\nallow {"), policyQuery, "access.rego:2"},
		"query":           {policyFile(t, forAliceV0), "data.access.", `query "data.access."`},
		"empty directory": {t.TempDir(), policyQuery, "without a .rego file"},
	} {
		for _, command := range [][]string{{"server"}, {"check", "server"}} {
			args := append(slices.Clone(command), "--listen", reserve(t), "--target", reserve(t), "--cacert", p.root,
				"--allow-policy", test.path, "--allow-query", test.query)
			code, _, stderr := run(t, append(args, p.server(t).flags()...)...)
			want := 1
			if command[0] == "check" {
				want = 2
			}
			if code != want || !strings.Contains(stderr, "--allow-policy "+test.path) || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s: %v: code %d, %q; want code %d and one line with %q", name, command, code, stderr, want, test.want)
			}
		}
	}
	args := append([]string{"check"}, serverLine(t, p, reserve(t), reserve(t), "--allow-policy", policyFile(t, forAliceV0), "--allow-query", policyQuery)...)
	if code, stdout, stderr := run(t, args...); code != 0 || !strings.Contains(stdout, "asked for "+policyQuery) {
		t.Errorf("check of a good one: code %d\n%s%s", code, stdout, stderr)
	}
}
