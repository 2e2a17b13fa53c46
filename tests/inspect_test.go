package tests

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// looked runs sallyport status with variables of its own.
func looked(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := startUnready(t, env, append([]string{"status"}, args...)...)
	code = p.exit(t)
	return code, p.stdout.String(), p.stderr.String()
}

// TestStatusCommandReachesThePort over each transport, by arguments and by the
// variables of the process that it looks at.
func TestStatusCommandReachesThePort(t *testing.T) {
	t.Parallel()
	p, token, socket := newPKI(t), filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "status")
	writeFile(t, token, []byte(firstToken+"\n"))
	id, admin := p.server(t), p.client(t)
	service := serve(t, "tcp", echo)
	at := func(address string, flags ...string) *process {
		all := append(id.flags(), "server", "--listen", reserve(t), "--target", service.address, "--cacert", p.root, "--allow-all", "--status", address)
		return startUnready(t, nil, append(all, flags...)...)
	}
	plain, secure, guarded, certified := reserve(t), reserve(t), reserve(t), reserve(t)
	for _, server := range []*process{
		at("http://" + plain), at(secure), at("unix:" + socket), at(guarded, "--status-token-file", token),
		at(certified, "--status-client-ca", p.root),
	} {
		server.waitLine(t, "status port listening")
	}
	show := []string{"--cert", admin.cert, "--key", admin.key}
	for _, test := range []struct {
		name string
		env  []string
		args []string
		code int
		says string // on standard error
	}{
		{"plain", nil, []string{"http://" + plain}, 0, ""},
		{"HTTPS by default", nil, []string{secure, "--cacert", p.root}, 0, ""},
		{"HTTPS", nil, []string{"https://" + secure, "--cacert", p.root}, 0, ""},
		{"a UNIX socket", nil, []string{"unix:" + socket}, 0, ""},
		{"an address among the variables", []string{"SALLYPORT_STATUS=http://" + plain}, nil, 0, ""},
		{"all among the variables", []string{"SALLYPORT_STATUS=" + guarded, "SALLYPORT_STATUS_TOKEN_FILE=" + token, "CACERT_PATH=" + p.root}, nil, 0, ""},
		{"a token", nil, []string{guarded, "--cacert", p.root, "--token-file", token}, 0, ""},
		{"the token itself", []string{"SALLYPORT_STATUS_TOKEN=" + firstToken}, []string{guarded, "--cacert", p.root}, 0, ""},
		{"a certificate", nil, append([]string{certified, "--cacert", p.root}, show...), 0, ""},
		{"another name", nil, []string{secure, "--cacert", p.root, "--server-name", "localhost"}, 0, ""},

		{"HTTPS where it is plain", nil, []string{plain, "--cacert", p.root}, 3, "write http://" + plain},
		{"plain where it is HTTPS", nil, []string{"http://" + secure}, 3, "write https://" + secure},
		{"nobody there", nil, []string{"http://" + reserve(t)}, 3, "connection refused"},
		{"no such socket", nil, []string{"unix:" + socket + "x"}, 3, "no such file"},
		{"a stranger's certificate", nil, []string{secure}, 3, "--cacert PATH says whom to trust"},
		{"a certificate for somebody else", nil, []string{secure, "--cacert", p.root, "--server-name", "elsewhere"}, 3, "--server-name NAME"},
		{"no token", nil, []string{guarded, "--cacert", p.root}, 3, "--token-file PATH"},
		{"another token", nil, []string{guarded, "--cacert", p.root, "--token", "wrong"}, 3, "the token is not the right one"},
		{"no certificate", nil, []string{certified, "--cacert", p.root}, 3, "--cert and --key"},
		{"no status port", nil, []string{"http://" + service.address, "--timeout", "2s"}, 3, "sallyport: http://" + service.address},

		{"no address", nil, nil, 2, "ADDR: missing"},
		{"an address that is none", nil, []string{"localhost"}, 2, "ADDR"},
		{"a file that is not there", nil, []string{secure, "--cacert", p.root + "x"}, 2, "--cacert: open "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := looked(t, test.env, test.args...)
			if code != test.code || !strings.Contains(stderr, test.says) || (stderr == "") != (code == 0) {
				t.Errorf("%d, want %d with %q: %s", code, test.code, test.says, stderr)
			}
			if shows := strings.HasPrefix(stdout, "status       ok: listening\n"); shows != (code == 0) {
				t.Errorf("it printed %q", stdout)
			}
			if strings.Contains(stdout+stderr, firstToken) {
				t.Error("it shows the token")
			}
		})
	}
}

// TestStatusCommandShowsWhatThePortSays, and nothing that a peer could do to a
// terminal.
func TestStatusCommandShowsWhatThePortSays(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all")
	hostile := p.issue(t, "hostile", devpki.Request{CommonName: "evil\x1b]0;owned\x07\u202e中"})
	conn := connect(t, listen, p.clientConfig(hostile))
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := looked(t, nil, server.status.base, "--connections")
	if code != 0 {
		t.Fatalf("%d: %s", code, stderr)
	}
	for _, want := range []string{
		"listener     " + listen, "target       " + service.address, "backend      ok", "CN=server", "364 days", "1 open, ",
		"server/", `evil\x1b]0;owned\a\u202e中  ` + conn.LocalAddr().String(), "14 B  14 B  TLS 1.3  " + service.address,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\x07\u202e") {
		t.Errorf("control characters: %q", out)
	}

	code, out, stderr = looked(t, nil, server.status.base, "--json")
	_, body := server.status.get(t, "/_status")
	var want, got map[string]any
	for text, into := range map[string]any{body: &want, out: &got} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%d, %v: %s%s", code, err, text, stderr)
		}
	}
	delete(want, "time")
	delete(got, "time")
	if fmt.Sprint(want) != fmt.Sprint(got) {
		t.Errorf("passed through as %v, want %v", got, want)
	}

	service.close()
	eventually(t, "the exit code tells that the backend is gone", func() bool {
		code, out, _ := looked(t, nil, server.status.base)
		return code == 1 && strings.HasPrefix(out, "status       critical: listening\n") && strings.Contains(out, "backend      critical: dial")
	})
	_ = conn.Close()
	server.stop(t)
}

// TestStatusCommandWatches on a terminal, which it leaves as it found it, and
// without one.
func TestStatusCommandWatches(t *testing.T) {
	t.Parallel()
	server := startServer(t, newPKI(t), reserve(t), serve(t, "tcp", echo).address, "--allow-all")
	args := []string{"status", server.status.base, "--watch", "--interval", "50ms", "--connections"}

	p := startUnready(t, nil, args...)
	p.waitLines(t, 3, "status       ok: listening")
	p.waitLines(t, 1, "accepted, ", "/s")
	p.signal(t, syscall.SIGINT)
	if code := p.exit(t); code != 0 || strings.Contains(p.stdout.String(), "\x1b") {
		t.Errorf("without a terminal it ends with %d, having written %q", code, &p.stdout)
	}

	for _, noColor := range []string{"", "1"} {
		screen := newTerminal(t, 100, 20)
		cmd := exec.Command(sallyport(t), args...)
		cmd.Env = []string{raceOptions, "TERM=xterm", "NO_COLOR=" + noColor}
		p := screen.launch(t, cmd)
		eventually(t, "the screen is drawn again", func() bool { return strings.Count(screen.String(), "\x1b[H") >= 3 })
		p.signal(t, syscall.SIGINT)
		if code := p.exit(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		text := screen.rest(t)
		if !strings.HasPrefix(text, "\x1b[?1049h\x1b[?25l\x1b[H") || !strings.HasSuffix(text, "\x1b[?25h\x1b[?1049l") {
			t.Errorf("the terminal is not as it was: %q", text)
		}
		if coloured := strings.Contains(text, "\x1b[32mok\x1b[0m"); coloured != (noColor == "") {
			t.Errorf("NO_COLOR=%s: colours %v in %q", noColor, coloured, text)
		}
	}
	server.stop(t)
	code, _, stderr := looked(t, nil, server.status.base)
	if code != 3 {
		t.Errorf("of a process that is gone: %d: %s", code, stderr)
	}
}

// TestStatusCommandDrawsOnNoDumbTerminal, such as that of an editor.
func TestStatusCommandDrawsOnNoDumbTerminal(t *testing.T) {
	t.Parallel()
	server := startServer(t, newPKI(t), reserve(t), serve(t, "tcp", echo).address, "--allow-all")
	for term, drawn := range map[string]bool{"dumb": false, "xterm": true} {
		screen := newTerminal(t, 100, 40)
		cmd := exec.Command(sallyport(t), "status", server.status.base)
		cmd.Env = []string{raceOptions, "TERM=" + term}
		if code := screen.launch(t, cmd).exit(t); code != 0 {
			t.Errorf("TERM=%s: exit code %d", term, code)
		}
		if text := screen.rest(t); !strings.Contains(text, "listening") || strings.Contains(text, "\x1b") != drawn {
			t.Errorf("TERM=%s: %q", term, text)
		}
	}
	server.stop(t)
}

// TestStatusCommandIsNotKeptWaiting by a port that accepts and says nothing.
func TestStatusCommandIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	silent := serve(t, "tcp", func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<20)); <-t.Context().Done() })
	for _, scheme := range []string{"http", "https"} {
		if code, _, stderr := looked(t, nil, scheme+"://"+silent.address, "--timeout", "100ms"); code != 3 || !strings.Contains(stderr, "no answer within --timeout 100ms") {
			t.Errorf("%s: %d: %s", scheme, code, stderr)
		}
	}
}
