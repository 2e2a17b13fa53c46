package tests

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxExposure is what systemd-analyze security may find, times ten. What is
// left to it is the work of a proxy: the network, UNIX sockets, and of /proc how
// long the accept queue may be.
const maxExposure = 15

// shipped returns a unit file of deploy/systemd.
func shipped(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", "systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// systemdVersion is that of the systemd that is there.
func systemdVersion(t *testing.T) int {
	t.Helper()
	out, err := exec.Command(need(t, "systemd-analyze"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	digits := regexp.MustCompile(`^systemd ([0-9]+)`).FindSubmatch(out)
	if digits == nil {
		t.Fatalf("systemd-analyze --version: %q", out)
	}
	version, err := strconv.Atoi(string(digits[1]))
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// writeUnits puts the shipped units into a directory, for a binary that is there.
func writeUnits(t *testing.T) (dir string, paths []string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"sallyport.service", "sallyport@.service", "sallyport.socket"} {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte(strings.ReplaceAll(shipped(t, name), "/usr/bin/sallyport", sallyport(t))))
		paths = append(paths, path)
	}
	return dir, paths
}

func TestUnitsAreWhatSystemdUnderstands(t *testing.T) {
	t.Parallel()
	analyze, old := need(t, "systemd-analyze"), systemdVersion(t) < 253
	dir, paths := writeUnits(t)
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, paths...)...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if old && strings.HasSuffix(line, "Failed to parse service type, ignoring: notify-reload\n") {
			continue // which is why there is the line before it
		}
		if strings.Contains(line, dir) || strings.HasPrefix(line, "sallyport") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

func TestUnitsExposeLittle(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd-analyze")
	_, paths := writeUnits(t)
	for _, path := range paths[:2] {
		out, err := exec.Command(analyze, "security", "--no-pager", "--offline=true", "--threshold="+strconv.Itoa(maxExposure), path).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze security: %v: %s", err, out)
		}
	}
}

// TestUnitsDifferInTheirNamesAlone: there is no way to share what is in them.
func TestUnitsDifferInTheirNamesAlone(t *testing.T) {
	t.Parallel()
	template := shipped(t, "sallyport@.service")
	template = strings.NewReplacer("sallyport/%i.yaml", "sallyport/sallyport.yaml", "sallyport/%i.env", "sallyport/sallyport.env", "sallyport/%i", "sallyport", ", tunnels of %i", "").Replace(template)
	if template != shipped(t, "sallyport.service") {
		t.Errorf("sallyport@.service would be\n%s", template)
	}
}

// TestExampleOfAFileStarts as it is shipped, but for where its files are.
func TestExampleOfAFileStarts(t *testing.T) {
	t.Parallel()
	p, dir, listen := newPKI(t), t.TempDir(), reserve(t)
	id := p.server(t)
	file := filepath.Join(dir, "web.yaml")
	writeFile(t, file, []byte(strings.NewReplacer(
		"/etc/sallyport/web/cert.pem", id.cert, "/etc/sallyport/web/key.pem", id.key, "/etc/sallyport/web/ca.pem", p.root,
		"/run/sallyport/web", dir, "listen: :8443", "listen: "+listen, "localhost:8080", serve(t, "tcp", echo).address,
	).Replace(shipped(t, "web.yaml"))))
	server := startUnready(t, nil, "run", "--config", file)
	server.status = newStatusPort("unix:" + filepath.Join(dir, "status"))
	server.waitReady(t)
	if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
		t.Error(err)
	}
	server.stop(t)
}

// unitRun is the shipped service and its socket, run by a systemd of the test's
// own. The user, who is not there, and what would hide the test's files are left
// out.
type unitRun struct {
	*userManager
	*pki

	listen, log string
}

func runUnit(t *testing.T, binary string, changes map[string]string, flags ...string) *unitRun {
	t.Helper()
	u := &unitRun{pki: newPKI(t), listen: reserve(t)}
	dir := t.TempDir()
	u.log = filepath.Join(dir, "log")
	id := u.server(t)
	writeFile(t, filepath.Join(dir, "sallyport.yaml"), fmt.Appendf(nil,
		"tunnels:\n- {name: web, mode: server, listen: 'systemd:tls', target: '%s', cert: %s, key: %s, cacert: %s, allow-all: true}\n",
		serve(t, "tcp", echo).address, id.cert, id.key, u.root))
	all := map[string]string{
		"/usr/bin/sallyport":   binary,
		".yaml\n":              ".yaml " + strings.Join(flags, " ") + "\n",
		"/etc/sallyport":       dir,
		"User=sallyport\n":     "Environment=" + raceOptions + "\n",
		"Group=sallyport\n":    "StandardOutput=append:" + u.log + "\nStandardError=inherit\n",
		"PrivateTmp=yes\n":     "",
		"After=network-online": "#",
		"Wants=network-online": "#",
		"ListenStream=8443":    "ListenStream=" + u.listen,
		// In a namespace of its own systemd cannot mount what these need.
		"ProtectHome=yes\n":           "",
		"ProtectKernelLogs=yes\n":     "",
		"ProtectKernelTunables=yes\n": "",
	}
	maps.Copy(all, changes)
	units := map[string]string{}
	for _, name := range []string{"sallyport.service", "sallyport.socket"} {
		text := shipped(t, name)
		for _, old := range slices.Sorted(maps.Keys(all)) {
			text = strings.ReplaceAll(text, old, all[old])
		}
		units[name] = text
	}
	if systemdVersion(t) < 253 {
		units["sallyport.service"] = strings.ReplaceAll(units["sallyport.service"], "[Install]", shipped(t, "reload-before-253.conf")+"\n[Install]")
	}
	u.userManager = startManager(t, units)
	return u
}

// show returns a property of the service.
func (u *unitRun) show(t *testing.T, property string) string {
	t.Helper()
	return u.do(t, "show", "--property="+property, "--value", "sallyport.service")
}

func (u *unitRun) logged(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(u.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnitRunsUnderSystemd: systemd waits until it listens, shows its status,
// waits for a reload, and lets a drain take longer than TimeoutStopSec=.
func TestUnitRunsUnderSystemd(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes a systemd of its own; make test-full runs it")
	}
	const stop = 2 * time.Second
	u := runUnit(t, sallyport(t), map[string]string{"TimeoutStopSec=30s": "TimeoutStopSec=2s"}, "--shutdown-timeout", "5m")
	u.do(t, "start", "sallyport.socket", "sallyport.service")
	if state, kind := u.show(t, "ActiveState"), u.show(t, "Type"); state != "active" || !strings.HasPrefix(kind, "notify") {
		t.Errorf("a service of type %s is %s", kind, state)
	}
	if !strings.Contains(u.logged(t), sandboxed) {
		t.Errorf("no sandbox within the unit:\n%s", u.logged(t))
	}
	config := u.clientConfig(u.client(t))
	open := connect(t, u.listen, config)
	if err := roundTrip(open); err != nil {
		t.Fatal(err)
	}
	eventually(t, "systemctl status shows the open connection", func() bool {
		return strings.HasPrefix(u.show(t, "StatusText"), "listening: 1 connection open")
	})
	u.do(t, "reload", "sallyport.service")
	eventually(t, "systemctl status shows the reload", func() bool {
		return strings.Contains(u.show(t, "StatusText"), "; reloaded at ")
	})
	began := time.Now()
	u.do(t, "stop", "--no-block", "sallyport.service")
	eventually(t, "the drain takes longer than TimeoutStopSec", func() bool {
		if state := u.show(t, "ActiveState"); state != "deactivating" {
			t.Fatalf("the service is %s after %v:\n%s", state, time.Since(began), u.logged(t))
		}
		return time.Since(began) > 2*stop
	})
	if status := u.show(t, "StatusText"); !strings.HasPrefix(status, "stopping: 1 connection open, until ") {
		t.Errorf("status %q in a drain", status)
	}
	if err := roundTrip(open); err != nil {
		t.Error(err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service ends", func() bool { return u.show(t, "ActiveState") == "inactive" })
	if result := u.show(t, "Result"); result != "success" {
		t.Errorf("result %s", result)
	}
}

// TestUnitIsRestartedWhenItIsStuck: the watchdog kills it, and another follows.
func TestUnitIsRestartedWhenItIsStuck(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes a systemd of its own; make test-full runs it")
	}
	binary, err := faulty()
	if err != nil {
		t.Fatal(err)
	}
	u := runUnit(t, binary, map[string]string{"WatchdogSec=30s": "WatchdogSec=1s"})
	u.do(t, "start", "sallyport.socket", "sallyport.service")
	config := u.clientConfig(u.client(t))
	if err := attempt(t, u.listen, config); err != nil {
		t.Fatal(err)
	}
	u.do(t, "kill", "--signal=SIGUSR2", "sallyport.service")
	eventually(t, "systemd starts it anew", func() bool {
		return u.show(t, "NRestarts") == "1" && u.show(t, "ActiveState") == "active"
	})
	if err := attempt(t, u.listen, config); err != nil {
		t.Errorf("a client of the process that follows: %v", err)
	}
	if log := u.logged(t); !strings.Contains(log, "watchdog is not told") || !strings.Contains(log, "SIGABRT") {
		t.Errorf("the log tells nothing of it:\n%s", log)
	}
	u.do(t, "stop", "sallyport.service")
}
