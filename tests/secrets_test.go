package tests

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// planted is secrets by where they were put. Nothing that a process shows may
// have one of them in it.
type planted map[string]string

// search fails the test if text, from somewhere, shows one of the secrets, as it
// is or encoded.
func (p planted) search(t *testing.T, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for what, secret := range p {
		// A part of it would do as well; what base64 makes of it depends on what
		// stands before.
		for _, form := range []string{
			secret, secret[2:], url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), fmt.Sprintf("%d", []byte(secret)),
			base64.RawStdEncoding.EncodeToString([]byte(secret[:9])),
			base64.RawStdEncoding.EncodeToString([]byte(secret[1:10])),
			base64.RawStdEncoding.EncodeToString([]byte(secret[2:11])),
		} {
			if strings.Contains(lower, strings.ToLower(form)) {
				t.Errorf("%s has the secret from %s, as %q:\n%.2000s", where, what, form, text)
				break
			}
		}
	}
}

// searchAll looks at all that a process has shown so far, and all that its
// status port tells those who know its token and those who do not.
func (p planted) searchAll(t *testing.T, of *process, token string) {
	t.Helper()
	p.search(t, "standard output", of.stdout.String())
	p.search(t, "standard error", of.stderr.String())
	for _, path := range []string{
		"/_status", "/_metrics", "/_metrics/json", "/_metrics?format=prometheus", "/_metrics/prometheus", "/metrics",
		"/healthz", "/readyz", "/livez", "/version", "/_shutdown", "/nothing", "/",
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/goroutine", "/debug/pprof/heap",
		"/debug/pprof/heap?debug=1", "/debug/pprof/allocs", "/debug/pprof/block", "/debug/pprof/mutex", "/debug/pprof/threadcreate?debug=1",
		"/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=0.1", "/debug/pprof/symbol",
	} {
		for _, with := range []string{token, ""} {
			of.status.token = with
			resp, err := of.status.do(t.Context(), http.MethodGet, path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if unpacked, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
				if body, err = io.ReadAll(unpacked); err != nil {
					t.Fatal(err)
				}
			}
			p.search(t, "GET "+path, fmt.Sprint(resp.Header)+"\n"+string(body))
		}
	}
	of.status.token = token
	if runtime.GOOS == "linux" {
		p.search(t, "/proc/PID/cmdline", strings.Join(of.arguments(t), " "))
	}
}

// arguments are those that the system shows to everybody, the program's name
// included. Linux alone.
func (p *process) arguments(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// TestSecretsAreShownNowhere plants secrets wherever one can be given, has the
// process do well and fail in every way that has to do with them, and looks at
// all that it shows.
func TestSecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	secrets := planted{
		"--storepass":              "Pl4nted-storepass-one",
		"the password of a URL":    "Pl4nted-urlpass-two",
		"the query of a URL":       "Pl4nted-query-three",
		"--status-token-file":      "Pl4nted-token-four",
		"a token that was wrong":   "Pl4nted-wrong-five",
		"a keystore of the future": "Pl4nted-future-six",
	}
	p := newPKI(t)
	store, token := filepath.Join(p.dir, "server.p12"), filepath.Join(p.dir, "token")
	keystore := func(password string) []byte {
		t.Helper()
		data, err := p.server(t).PKCS12(password)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	writeFile(t, store, keystore(secrets["--storepass"]))
	writeFile(t, token, []byte(secrets["--status-token-file"]+"\n"))
	target := serve(t, "tcp", func(conn net.Conn) { // which refuses to say how it is
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	listen := reserve(t)
	server := start(t, "server", "--keystore", store, "--storepass", secrets["--storepass"], "--cacert", p.root,
		"--listen", listen, "--target", target.address, "--allow-cn", "client", "--log-level", "debug",
		"--target-status", "http://user:"+secrets["the password of a URL"]+"@localhost/health?token="+secrets["the query of a URL"],
		"--status", "http://"+reserve(t), "--status-token-file", token, "--enable-pprof", "--enable-shutdown")

	_ = attempt(t, listen, p.clientConfig(p.client(t))) // the target echoes nothing
	if err := attempt(t, listen, p.clientConfig()); err == nil {
		t.Error("let in without a certificate")
	}
	server.status.token = secrets["a token that was wrong"]
	if code, _ := server.status.get(t, "/_status"); code != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d, want 401", code)
	}
	server.status.token = secrets["--status-token-file"]
	if _, r := server.status.report(t); r.BackendStatus != "critical" || r.BackendError == "" {
		t.Errorf("the backend is %q: %q", r.BackendStatus, r.BackendError)
	}
	secrets.searchAll(t, server, secrets["--status-token-file"])

	replaceFile(t, store, keystore(secrets["a keystore of the future"]))
	replaceFile(t, token, []byte(secrets["--status-token-file"]+" "+secrets["a token that was wrong"]))
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "reload failed", "--keystore "+store, "--status-token-file "+token)
	target.close()
	secrets.searchAll(t, server, secrets["--status-token-file"])
	server.stop(t)
	secrets.search(t, "standard output", server.stdout.String())
	secrets.search(t, "standard error", server.stderr.String())
}

// TestFailuresToStartShowNoSecret is about those that have to do with one.
func TestFailuresToStartShowNoSecret(t *testing.T) {
	t.Parallel()
	secrets := planted{"the line": "Pl4nted-in-the-line", "the variable": "Pl4nted-in-the-variable", "the file": "Pl4nted-in-the-file"}
	p := newPKI(t)
	store, file := filepath.Join(p.dir, "server.p12"), filepath.Join(p.dir, "secret")
	data, err := p.server(t).PKCS12("another")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, store, data)
	writeFile(t, file, []byte(secrets["the file"]+" and more"))
	id := p.server(t)
	line, variable := secrets["the line"], secrets["the variable"]
	for _, c := range []struct {
		env  []string
		args []string
		code int
	}{
		{nil, []string{"--keystore", store, "--storepass", line}, 1},
		{nil, []string{"--keystore", store, "--storepass=" + line}, 1},
		{[]string{"KEYSTORE_PASS=" + variable}, []string{"--keystore", store}, 1},
		{[]string{"SALLYPORT_STOREPASS=" + variable}, []string{"--keystore", store}, 1},
		{nil, []string{"--keystore", store, "--storepass-file", file}, 1},
		{nil, []string{"--keystore", store, "--storepass", line, "--storepass-file", file}, 2},
		{nil, []string{"--keystore", store, "--storepass", line, "and", line}, 2},
		{nil, []string{"--storepas=" + line}, 2},
		{nil, append(id.flags(), "--status", "unix:"+filepath.Join(p.dir, "s"), "--status-token-file", file), 1},
		{nil, append(id.flags(), "--target-status", "gopher://"+line), 2},
		{[]string{"SALLYPORT_TARGET_STATUS=gopher://" + variable}, id.flags(), 2},
		{[]string{"PKCS11_PIN=" + variable}, []string{"--cert", id.cert, "--pkcs11-module", file, "--pkcs11-token-label", "x"}, 1},
		{nil, []string{"--cert", id.cert, "--pkcs11-module", file, "--pkcs11-token-label", "x", "--pkcs11-pin", line}, 1},
	} {
		all := append([]string{"server", "--listen", reserve(t), "--target", "localhost:1", "--cacert", p.root, "--allow-all", "--log-level", "debug"}, c.args...)
		failed := startUnready(t, c.env, all...)
		if code := failed.exit(t); code != c.code || failed.stderr.String() == "" {
			t.Errorf("%q: exit code %d, want %d and a reason", c.args, code, c.code)
		}
		secrets.search(t, "standard output", failed.stdout.String())
		secrets.search(t, "standard error", failed.stderr.String())
	}
}

// TestSecretsAreTakenOutOfTheArguments that the system shows to everybody. The
// rest of them stays as it is.
func TestSecretsAreTakenOutOfTheArguments(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		skip(t, "arguments stay visible but on Linux")
	}
	const password = "Pl4nted-for-ps"
	p := newPKI(t)
	store := filepath.Join(p.dir, "server.p12")
	data, err := p.server(t).PKCS12(password)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, store, data)
	for _, given := range [][]string{{"--storepass", password}, {"--storepass=" + password}} {
		address := reserve(t)
		args := slices.Concat([]string{"server"}, given, []string{
			"--keystore", store, "--listen", address, "--target", serve(t, "tcp", echo).address, "--cacert", p.root,
			"--allow-all", "--target-status", "http://localhost/?token=" + password, "--status", "http://" + reserve(t),
		})
		server := start(t, args...)
		want := slices.Concat([]string{sallyport(t)}, args)
		for i, arg := range want {
			want[i] = strings.ReplaceAll(arg, password, strings.Repeat("*", len(password)))
			if strings.HasPrefix(arg, "http://localhost/?") {
				want[i] = strings.Repeat("*", len(arg))
			}
		}
		if got := server.arguments(t); !slices.Equal(got, want) {
			t.Errorf("it shows\n\t%q\nwant\n\t%q", got, want)
		}
		if out := peerOutput(t, "", "ps", "-ww", "-o", "args=", "-p", fmt.Sprint(server.cmd.Process.Pid)); strings.Contains(out, "Pl4nted") {
			t.Errorf("ps shows %s", out)
		}
		// The password itself still does its work, at a reload too.
		if err := attempt(t, address, p.clientConfig(p.client(t))); err != nil {
			t.Error(err)
		}
		server.signal(t, syscall.SIGHUP)
		server.waitLine(t, "msg=reloaded")
		server.stop(t)
	}
}

// TestThePINIsTakenOutOfTheArguments of a process that reloads its token.
func TestThePINIsTakenOutOfTheArguments(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		skip(t, "arguments stay visible but on Linux")
	}
	p := newPKI(t)
	h := newSoftHSM(t, "sidecar")
	id := p.issue(t, "server", devpki.Request{CommonName: "server", DNSNames: []string{"localhost"}, IPs: loopback})
	h.importKey(t, "sidecar", "01", id)
	address := reserve(t)
	server := h.start(t, append([]string{
		"server", "--listen", address, "--target", serve(t, "tcp", echo).address, "--allow-cn", "client",
		"--cacert", p.root, "--status", "http://" + reserve(t),
	}, h.flags("sidecar", id.cert)...)...)
	if shown := strings.Join(server.arguments(t), " "); strings.Contains(shown, userPIN) || !strings.Contains(shown, "--pkcs11-pin ***") {
		t.Errorf("it shows %s", shown)
	}
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "msg=reloaded")
	if err := attempt(t, address, p.clientConfig(p.client(t))); err != nil {
		t.Error(err)
	}
	server.stop(t)
}
