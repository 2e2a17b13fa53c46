package tests

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// userPIN is that of every token's user. No output may have it.
const userPIN = "9753124680"

// A softHSM is a SoftHSM with one token, in a directory of its own.
type softHSM struct {
	dir, module string
	env         []string // for whoever uses it
}

// newSoftHSM makes a token with a label.
func newSoftHSM(t *testing.T, label string) *softHSM {
	t.Helper()
	h := &softHSM{dir: t.TempDir()}
	for _, path := range []string{
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so",
		"/opt/homebrew/lib/softhsm/libsofthsm2.so",
	} {
		if _, err := os.Stat(path); err == nil {
			h.module = path
		}
	}
	if h.module == "" {
		skip(t, "SoftHSM is missing: tests/peers.sh installs it")
	}
	tokens := filepath.Join(h.dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(h.dir, "softhsm2.conf")
	writeFile(t, config, []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"))
	h.env = []string{"SOFTHSM2_CONF=" + config}
	h.util(t, "--init-token", "--free", "--label", label, "--so-pin", "1234567890", "--pin", userPIN)
	return h
}

// util runs softhsm2-util to its end.
func (h *softHSM) util(t *testing.T, args ...string) {
	t.Helper()
	peerOutput(t, "", "env", append([]string{h.env[0], need(t, "softhsm2-util")}, args...)...)
}

// importKey puts an identity's private key into the token.
func (h *softHSM) importKey(t *testing.T, label, id string, f files) {
	t.Helper()
	h.util(t, "--import", f.key, "--token", label, "--pin", userPIN, "--label", id, "--id", id)
	// From here on the key is in the token alone.
	if err := os.Remove(f.key); err != nil {
		t.Fatal(err)
	}
}

// flags are those of an identity whose key is in the token.
func (h *softHSM) flags(label, cert string) []string {
	return []string{"--cert", cert, "--pkcs11-module", h.module, "--pkcs11-token-label", label, "--pkcs11-pin", userPIN}
}

// tellsNoPIN fails the test if a process has printed the PIN, or its status
// port tells it.
func tellsNoPIN(t *testing.T, p *process) {
	t.Helper()
	texts := map[string]string{"standard output": p.stdout.String(), "standard error": p.stderr.String()}
	if p.status != nil {
		for _, path := range []string{"/_status", "/_metrics", "/_metrics/prometheus"} {
			_, texts[path] = p.status.get(t, path)
		}
	}
	for where, text := range texts {
		if strings.Contains(text, userPIN) {
			t.Errorf("%s has the PIN:\n%s", where, text)
		}
	}
}

func TestTunnelBetweenKeysInTokens(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]devpki.KeyKind{"RSA": devpki.RSA2048, "ECDSA": devpki.ECDSAP256} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			h := newSoftHSM(t, "sidecar")
			server := p.issue(t, "server", devpki.Request{CommonName: "server", DNSNames: []string{"localhost"}, IPs: loopback, Key: kind})
			client := p.issue(t, "client", devpki.Request{CommonName: "client", Key: kind})
			h.importKey(t, "sidecar", "01", server)
			h.importKey(t, "sidecar", "02", client)

			for _, version := range []string{"TLS1.2", "TLS1.3"} {
				address, listen := reserve(t), reserve(t)
				trust := []string{"--cacert", p.root, "--max-tls-version", version}
				far := h.start(t, append(append([]string{
					"server", "--listen", address, "--target", serve(t, "tcp", echo).address,
					"--allow-cn", "client", "--status", "http://" + reserve(t),
				}, trust...), h.flags("sidecar", server.cert)...)...)
				near := h.start(t, append(append([]string{
					"client", "--listen", listen, "--target", address, "--status", "http://" + reserve(t),
				}, trust...), h.flags("sidecar", client.cert)...)...)
				for seed := range int64(5) {
					if err := exchange(dial(t, "tcp", listen), seed, 1<<20, 64<<10); err != nil {
						t.Errorf("%s: %v", version, err)
					}
				}
				for _, process := range []*process{near, far} {
					tellsNoPIN(t, process)
					process.stop(t)
				}
			}
		})
	}
}

// start starts sallyport with the token, and waits until it is ready.
func (h *softHSM) start(t *testing.T, args ...string) *process {
	t.Helper()
	p := startUnready(t, h.env, args...)
	p.waitReady(t)
	return p
}

func TestReloadOfTheChainOfAKeyInAToken(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	h := newSoftHSM(t, "sidecar")
	first := p.issue(t, "server", devpki.Request{CommonName: "first", DNSNames: []string{"localhost"}, IPs: loopback})
	second := p.issue(t, "second", devpki.Request{CommonName: "second", DNSNames: []string{"localhost"}, IPs: loopback})
	stranger := p.issue(t, "stranger", devpki.Request{CommonName: "stranger", DNSNames: []string{"localhost"}})
	h.importKey(t, "sidecar", "01", first)
	h.importKey(t, "sidecar", "02", second)

	listen := reserve(t)
	server := h.start(t, append([]string{
		"server", "--listen", listen, "--target", serve(t, "tcp", echo).address, "--cacert", p.root,
		"--disable-authentication", "--no-watch-files", "--status", "http://" + reserve(t),
	}, h.flags("sidecar", first.cert)...)...)
	shows := func(name string) {
		t.Helper()
		out := peerOutput(t, "", "openssl", "s_client", "-connect", listen, "-CAfile", p.root, "-verify_return_error")
		if !strings.Contains(out, "subject=CN = "+name+"\n") {
			t.Errorf("openssl s_client was not shown the certificate of %s:\n%s", name, out)
		}
	}
	shows("first")

	writeFile(t, first.cert, second.CertPEM())
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "msg=reloaded")
	shows("second")

	writeFile(t, first.cert, stranger.CertPEM())
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "reload failed", "--cert "+first.cert, "no private key that fits", "CN=stranger")
	shows("second")
	var status struct {
		Error string `json:"last_reload_error"`
	}
	server.status.getJSON(t, "/_status", &status)
	if !strings.Contains(status.Error, "no private key that fits") {
		t.Errorf("last_reload_error is %q", status.Error)
	}

	writeFile(t, first.cert, first.CertPEM())
	server.signal(t, syscall.SIGHUP)
	server.waitLines(t, 2, "msg=reloaded")
	shows("first")
	tellsNoPIN(t, server)
	server.stop(t)
}

func TestUnusableTokensEndTheStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	h := newSoftHSM(t, "sidecar")
	identity, stranger := p.server(t), p.client(t)
	h.importKey(t, "sidecar", "01", identity)
	missing := filepath.Join(h.dir, "missing.so")

	for _, test := range []struct {
		name, flag, value string
		want              []string
	}{
		{"wrong PIN", "--pkcs11-pin", "8642097531", []string{"--pkcs11-pin", "refused"}},
		{"no such token", "--pkcs11-token-label", "elsewhere", []string{"--pkcs11-token-label elsewhere", `"sidecar"`}},
		{"no such module", "--pkcs11-module", missing, []string{"--pkcs11-module " + missing, "no such file"}},
		{"key elsewhere", "--cert", stranger.cert, []string{"--cert " + stranger.cert, "no private key that fits"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			flags := h.flags("sidecar", identity.cert)
			for i := range flags {
				if flags[i] == test.flag {
					flags[i+1] = test.value
				}
			}
			process := startUnready(t, h.env, append([]string{
				"server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all", "--cacert", p.root,
			}, flags...)...)
			if code := process.exit(t); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			stderr := process.stderr.String()
			if !strings.HasPrefix(stderr, "sallyport: ") || strings.Count(stderr, "\n") != 1 || !containsAll(stderr, test.want) {
				t.Errorf("standard error %q, want one line with %q", stderr, test.want)
			}
			if strings.Contains(stderr, "8642097531") {
				t.Errorf("standard error has the PIN: %s", stderr)
			}
			tellsNoPIN(t, process)
		})
	}
}
