package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/devpki"
)

// withDev is a command that runs sallyport with a directory for its /dev.
func withDev(t *testing.T, dev string, args ...string) *exec.Cmd {
	t.Helper()
	unshare := []string{"--mount", "--propagation", "private"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	program := need(t, "unshare")
	if out, err := exec.Command(program, append(unshare, "true")...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no mount namespaces here: %v: %s", err, out))
	}
	script := []string{"sh", "-c", `mount --bind "$0" /dev && exec "$@"`, dev, sallyport(t)}
	return exec.Command(program, append(append(unshare, script...), args...)...)
}

// logServer starts sallyport in server mode with --syslog, before an echo, and a
// directory for its /dev.
func logServer(t *testing.T, p *pki, dev, listen string, args ...string) *process {
	t.Helper()
	all := serverLine(t, p, listen, serve(t, "tcp", echo).address, "--allow-cn", "client", "--status", "http://"+reserve(t), "--syslog")
	return launchSallyport(t, nil, withDev(t, dev, append(all, args...)...))
}

// TestSyslogGetsWhatIsLogged: our own receiver of datagrams has every line, and
// standard output has none.
func TestSyslogGetsWhatIsLogged(t *testing.T) {
	t.Parallel()
	dev, p, listen := t.TempDir(), newPKI(t), reserve(t)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dev, "log")})
	if err != nil {
		t.Fatal(err)
	}
	bound(t, conn)
	server := logServer(t, p, dev, listen)
	server.waitReady(t)
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Error(err)
	}
	if attempt(t, listen, p.clientConfig(p.issue(t, "mallory", devpki.Request{CommonName: "mallory"}))) == nil {
		t.Error("mallory was let in")
	}
	server.stop(t)
	want := map[string]string{"msg=listening": "30", `msg="opening pipe"`: "30", `msg="error on TLS handshake"`: "28", "msg=stopped": "30"}
	format := regexp.MustCompile(fmt.Sprintf(`^<(\d+)>1 \d{4}-\d\d-\d\dT[^ ]+ [^ ]+ sallyport %d - - level=[A-Z]+ msg=`, server.cmd.Process.Pid))
	for buf := make([]byte, 64<<10); len(want) > 0; {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%v; not logged: %v", err, want)
		}
		line := string(buf[:n])
		parts := format.FindStringSubmatch(line)
		if parts == nil {
			t.Errorf("got %q, want it as RFC 5424 has it, with the process's number", line)
			continue
		}
		for message, priority := range want {
			if strings.Contains(line, message) {
				if parts[1] != priority {
					t.Errorf("got %q, want priority %s", line, priority)
				}
				delete(want, message)
			}
		}
	}
	if out := server.stdout.String(); out != "" {
		t.Errorf("standard output %q, want nothing", out)
	}
}

func TestSyslogThatIsMissingIsAnError(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	server := logServer(t, p, t.TempDir(), reserve(t))
	code, want := server.exit(t), "sallyport: --syslog: there is no /dev/log on this system; leave it out to log to standard output\n"
	if got := server.stderr.String(); code != 1 || got != want {
		t.Errorf("exit code %d, standard error %q; want 1 and %q", code, got, want)
	}
	// A check says so, too.
	check := launchSallyport(t, nil, withDev(t, t.TempDir(), "check", "server", "--listen", reserve(t), "--target", "127.0.0.1:1",
		"--auto-tls", "--allow-all", "--syslog"))
	if code := check.exit(t); code != 2 || !strings.Contains(check.stderr.String(), "--syslog: there is no /dev/log") {
		t.Errorf("check: exit code %d, standard error %q", code, check.stderr.String())
	}
	quiet := logServer(t, p, t.TempDir(), reserve(t), "--quiet", "all")
	quiet.waitReady(t) // there is nothing to log
	quiet.stop(t)
}

// TestSyslogNgGetsWhatIsLogged before and after it was restarted.
func TestSyslogNgGetsWhatIsLogged(t *testing.T) {
	t.Parallel()
	dev, dir, p, listen := t.TempDir(), t.TempDir(), newPKI(t), reserve(t)
	config, received := filepath.Join(dir, "syslog-ng.conf"), filepath.Join(dir, "received")
	writeFile(t, config, fmt.Appendf(nil, `@version: 3.38
source s { unix-dgram("%s/log" flags(syslog-protocol)); };
destination d { file("%s" template("$FACILITY $LEVEL $PROGRAM $PID $MSG\n")); };
log { source(s); destination(d); };
`, dev, received))
	syslogNg := func() *process {
		daemon := startPeer(t, "syslog-ng", "-F", "--no-caps", "-f", config, "-R", filepath.Join(dir, "persist"),
			"-c", filepath.Join(dir, "control"), "-p", filepath.Join(dir, "pid"))
		eventually(t, "syslog-ng listens", func() bool {
			conn, err := net.Dial("unixgram", filepath.Join(dev, "log"))
			return err == nil && conn.Close() == nil
		})
		return daemon
	}
	has := func(parts ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("syslog-ng has a line with %q", parts), func() bool {
			text, _ := os.ReadFile(received) // not there before the first line
			for line := range strings.Lines(string(text)) {
				found := true
				for _, part := range parts {
					found = found && strings.Contains(line, part)
				}
				if found {
					return true
				}
			}
			return false
		})
	}
	daemon := syslogNg()
	server := logServer(t, p, dev, listen)
	server.waitReady(t)
	has(fmt.Sprintf("daemon info sallyport %d level=INFO msg=listening", server.cmd.Process.Pid), "mode=server")

	daemon.signal(t, syscall.SIGTERM)
	daemon.exit(t)
	server.signal(t, syscall.SIGHUP)
	eventually(t, "a reload while syslog-ng is away", func() bool {
		_, r := server.status.report(t)
		return !r.LastReload.IsZero() && r.Message == "listening"
	})
	syslogNg()
	if attempt(t, listen, p.clientConfig(p.issue(t, "mallory", devpki.Request{CommonName: "mallory"}))) == nil {
		t.Error("mallory was let in")
	}
	has("daemon warning sallyport", "log lines are lost that syslog did not take", "lines=2")
	has("daemon warning sallyport", "error on TLS handshake", "reason=not_allowed")
	server.stop(t)
	has("daemon info sallyport", "msg=stopped")
}

// TestJournalIsToldSeveritiesAndNoTime where standard output is what
// JOURNAL_STREAM says, in text, and nowhere else.
func TestJournalIsToldSeveritiesAndNoTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string
		journal bool // standard output is the one that the variable names
		want    *regexp.Regexp
	}{
		{"the journal", nil, true, regexp.MustCompile(`^<6>level=INFO msg=`)},
		{"another stream", nil, false, regexp.MustCompile(`^time=[^ ]+ level=INFO msg=`)},
		{"JSON", []string{"--log-format", "json"}, true, regexp.MustCompile(`^\{"time":"[^"]+","level":"INFO","msg":`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = out.Close() }()
			var stat unix.Stat_t
			if err := unix.Fstat(int(out.Fd()), &stat); err != nil {
				t.Fatal(err)
			}
			if !test.journal {
				stat.Ino++
			}
			p := newPKI(t)
			args := serverLine(t, p, reserve(t), "127.0.0.1:1", "--allow-all", "--status", "http://"+reserve(t))
			// A shell puts the file in the place of what launch has for standard output.
			shell := append([]string{"-c", `exec "$0" "$@" >>` + out.Name(), sallyport(t)}, append(args, test.args...)...)
			server := launchSallyport(t, []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino)}, exec.Command("sh", shell...))
			server.waitReady(t)
			server.stop(t)
			text, err := os.ReadFile(out.Name())
			if err != nil || len(text) == 0 {
				t.Fatalf("%q, %v", text, err)
			}
			for line := range strings.Lines(string(text)) {
				if !test.want.MatchString(line) {
					t.Errorf("logged %q, want it like %v", line, test.want)
				}
			}
		})
	}
}
