package tests

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A manager is what listens on NOTIFY_SOCKET, as systemd does.
type manager struct {
	socket  string // as NOTIFY_SOCKET says it
	notices chan notice
}

// A notice is one datagram, and when it came.
type notice struct {
	at    time.Time
	lines []string
}

// value returns what the notice assigns to a name, and whether it does.
func (n notice) value(name string) (string, bool) {
	for _, line := range n.lines {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// newManager listens on a socket file, or, for an address with an @, in the
// abstract namespace.
func newManager(t *testing.T, address string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{socket: address, notices: make(chan notice, 1024)}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 8192)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				close(m.notices)
				return
			}
			m.notices <- notice{time.Now(), strings.Split(string(buf[:n]), "\n")}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
	})
	return m
}

// next returns the next notice with one of the names, and what was before it.
func (m *manager) next(t *testing.T, names ...string) (n notice, before []notice) {
	t.Helper()
	for {
		n = receive(t, "a notice with "+strings.Join(names, " or "), m.notices)
		if n.lines == nil {
			t.Fatalf("the manager is closed, and has no notice with %q", names)
		}
		if slices.ContainsFunc(names, func(name string) bool { _, ok := n.value(name); return ok }) {
			return n, before
		}
		before = append(before, n)
	}
}

// state returns the next change of state, which must be the one that is wanted.
func (m *manager) state(t *testing.T, want string) notice {
	t.Helper()
	name, _, _ := strings.Cut(want, "=")
	n, _ := m.next(t, "READY", "RELOADING", "STOPPING")
	if !slices.Contains(n.lines, want) {
		t.Fatalf("told %q, want %s", n.lines, want)
	}
	if _, ok := n.value(name); !ok || n.lines[0] != want {
		t.Errorf("told %q, want %s first", n.lines, want)
	}
	return n
}

// status waits for a STATUS with all of parts.
func (m *manager) status(t *testing.T, parts ...string) {
	t.Helper()
	for {
		n, _ := m.next(t, "STATUS")
		text, _ := n.value("STATUS")
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) }) {
			return
		}
	}
}

// managed starts sallyport in server mode, before an echo, with variables of a
// service manager. It has no status port, which would tell that it is ready.
func managed(t *testing.T, binary string, p *pki, listen string, env []string, args ...string) *process {
	t.Helper()
	all := serverLine(t, p, listen, serve(t, "tcp", echo).address, append([]string{"--allow-all"}, args...)...)
	return launchSallyport(t, env, exec.Command(binary, all...))
}

// TestServiceManagerIsToldTheLifeOfTheProcess in the right order: start, reload,
// failed reload, drain, with the sandbox on.
func TestServiceManagerIsToldTheLifeOfTheProcess(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"path", "abstract"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			address := filepath.Join(t.TempDir(), "notify")
			if kind == "abstract" {
				address = "@" + address
			}
			m, p, listen := newManager(t, address), newPKI(t), reserve(t)
			server := managed(t, sallyport(t), p, listen, []string{"NOTIFY_SOCKET=" + address}, "--shutdown-timeout", "20m")

			m.state(t, "READY=1")
			// Whoever is told so is right: this is not tried again.
			open := connect(t, listen, p.clientConfig(p.client(t)))
			if err := roundTrip(open); err != nil {
				t.Fatal(err)
			}
			m.status(t, "listening: 1 connection open")

			before := monotonic(t)
			server.signal(t, syscall.SIGHUP)
			reloading := m.state(t, "RELOADING=1")
			text, _ := reloading.value("MONOTONIC_USEC")
			if at, err := strconv.ParseInt(text, 10, 64); err != nil || at < before || at > monotonic(t) {
				t.Errorf("MONOTONIC_USEC=%s, want a time since %d", text, before)
			}
			m.state(t, "READY=1")
			server.waitLine(t, "msg=reloaded")

			writeFile(t, filepath.Join(p.dir, "server-key.pem"), []byte("broken\n"))
			server.signal(t, syscall.SIGHUP)
			m.state(t, "RELOADING=1")
			if text, _ := m.state(t, "READY=1").value("STATUS"); !strings.Contains(text, "failed: --key ") {
				t.Errorf("STATUS=%s after a reload that failed", text)
			}
			server.waitLine(t, "reload failed")

			server.signal(t, syscall.SIGTERM)
			stopping := m.state(t, "STOPPING=1")
			if text, _ := stopping.value("STATUS"); !strings.HasPrefix(text, "stopping: 1 connection open, until 20") {
				t.Errorf("STATUS=%s in a drain", text)
			}
			first, ok := stopping.value("EXTEND_TIMEOUT_USEC")
			if usec, err := strconv.ParseInt(first, 10, 64); !ok || err != nil || usec <= 0 || usec > int64(20*time.Minute/time.Microsecond) {
				t.Errorf("EXTEND_TIMEOUT_USEC=%s, want a time up to --shutdown-timeout", first)
			}
			again, _ := m.next(t, "EXTEND_TIMEOUT_USEC")
			usec, _ := strconv.ParseInt(first, 10, 64)
			if pause := again.at.Sub(stopping.at); pause >= time.Duration(usec)*time.Microsecond {
				t.Errorf("asked for %s µs, and again after %v", first, pause)
			}
			if err := open.Close(); err != nil {
				t.Fatal(err)
			}
			if code := server.exit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// monotonic is the time of CLOCK_MONOTONIC, in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// TestManagerThatIsNotThereChangesNothing, at the start and later on.
func TestManagerThatIsNotThereChangesNothing(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"none":       filepath.Join(t.TempDir(), "none"),
		"no address": "vsock:2:1234",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			server := managed(t, sallyport(t), p, listen, []string{"NOTIFY_SOCKET=" + address, "WATCHDOG_USEC=200000"})
			server.waitLine(t, "level=WARN", "the service manager cannot be told", address)
			server.waitReady(t)
			server.signal(t, syscall.SIGHUP)
			server.waitLine(t, "msg=reloaded")
			if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
				t.Error(err)
			}
			server.stop(t)
		})
	}
}

// TestWatchdogIsToldAtHalfTheInterval also where there is nothing to accept, as
// no more may be open.
func TestWatchdogIsToldAtHalfTheInterval(t *testing.T) {
	t.Parallel()
	const interval = 400 * time.Millisecond
	for _, test := range []struct {
		name string
		args []string
		full bool // one connection is open
	}{
		{name: "idle"},
		{name: "full", args: []string{"--max-concurrent-conns", "1"}, full: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, p, listen := newManager(t, filepath.Join(t.TempDir(), "notify")), newPKI(t), reserve(t)
			server := managed(t, sallyport(t), p, listen, watched(m, interval), test.args...)
			m.state(t, "READY=1")
			if test.full {
				open := connect(t, listen, p.clientConfig(p.client(t)))
				if err := roundTrip(open); err != nil {
					t.Fatal(err)
				}
				dial(t, "tcp", listen) // which waits
			}
			first, _ := m.next(t, "WATCHDOG")
			const times = 10
			last := first
			for range times {
				last, _ = m.next(t, "WATCHDOG")
			}
			// Less often than that is what a busy machine may make of it.
			if took := last.at.Sub(first.at); took < (times-1)*interval/2 {
				t.Errorf("told %d times in %v, want every %v", times, took, interval/2)
			}
			server.signal(t, syscall.SIGTERM)
			m.state(t, "STOPPING=1")
			if test.full {
				m.next(t, "WATCHDOG") // in a drain, too
				server.signal(t, syscall.SIGTERM)
			}
			server.exit(t)
		})
	}
}

// watched are the variables of a manager that looks after the process.
func watched(m *manager, interval time.Duration) []string {
	return []string{"NOTIFY_SOCKET=" + m.socket, fmt.Sprintf("WATCHDOG_USEC=%d", interval.Microseconds())}
}

// TestWatchdogOfAnotherProcessIsNotTold.
func TestWatchdogOfAnotherProcessIsNotTold(t *testing.T) {
	t.Parallel()
	m, p := newManager(t, filepath.Join(t.TempDir(), "notify")), newPKI(t)
	env := append(watched(m, 20*time.Millisecond), "WATCHDOG_PID=1")
	server := managed(t, sallyport(t), p, reserve(t), env)
	m.state(t, "READY=1")
	server.signal(t, syscall.SIGHUP)
	m.state(t, "RELOADING=1")
	m.state(t, "READY=1")
	server.signal(t, syscall.SIGTERM)
	_, before := m.next(t, "STOPPING")
	for _, n := range before {
		if _, ok := n.value("WATCHDOG"); ok {
			t.Errorf("told %q", n.lines)
		}
	}
	server.exit(t)
}

// faulty builds a binary in which SIGUSR2 wedges the accept loop, once.
var faulty = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(workshop, "sallyport-faulty")
	build := exec.Command("go", "build", "-race", "-tags", "faults", "-o", binary, "sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	return binary, nil
})

// TestWatchdogIsNotToldOfAnAcceptLoopThatIsStuck, while connections go on, and
// is told again once it is stuck no longer.
func TestWatchdogIsNotToldOfAnAcceptLoopThatIsStuck(t *testing.T) {
	t.Parallel()
	binary, err := faulty()
	if err != nil {
		t.Fatal(err)
	}
	m, p, listen := newManager(t, filepath.Join(t.TempDir(), "notify")), newPKI(t), reserve(t)
	server := managed(t, binary, p, listen, watched(m, 300*time.Millisecond))
	m.state(t, "READY=1")
	config := p.clientConfig(p.client(t))
	open := connect(t, listen, config)
	if err := roundTrip(open); err != nil {
		t.Fatal(err)
	}
	m.next(t, "WATCHDOG")

	server.signal(t, syscall.SIGUSR2)
	server.waitLine(t, "level=ERROR", "the service manager's watchdog is not told", "--listen "+listen)
	since := time.Now()
	if err := roundTrip(open); err != nil {
		t.Errorf("an established connection: %v", err)
	}
	server.signal(t, syscall.SIGHUP) // which shows that notices still come
	_, before := m.next(t, "RELOADING")
	ready, more := m.next(t, "READY")
	for _, n := range slices.Concat(before, more) {
		if _, ok := n.value("WATCHDOG"); ok && n.at.After(since) {
			t.Errorf("told %q %v after it was found to be stuck", n.lines, n.at.Sub(since))
		}
	}

	server.signal(t, syscall.SIGUSR2)
	server.waitLine(t, "the process answers again")
	if n, _ := m.next(t, "WATCHDOG"); n.at.Before(ready.at) {
		t.Error("told before")
	}
	if err := attempt(t, listen, config); err != nil {
		t.Errorf("a connection after it was stuck: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	server.stop(t)
}

// TestFaultIsInNoOrdinaryBinary: SIGUSR2 is nothing to it.
func TestFaultIsInNoOrdinaryBinary(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := managed(t, sallyport(t), p, listen, nil)
	server.waitReady(t)
	server.signal(t, syscall.SIGUSR2)
	for range 3 {
		if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
			t.Error(err)
		}
	}
	server.stop(t)
	list := exec.Command("go", "list", "-f", "{{.GoFiles}}", "sallyport/sidecar")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", list, err, out)
	}
	if files := strings.Fields(strings.Trim(string(out), "[]\n")); slices.Contains(files, "fault.go") || !slices.Contains(files, "faultless.go") {
		t.Errorf("an ordinary binary is built of %v", files)
	}
}
