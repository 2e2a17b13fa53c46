package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A userManager is a systemd of the test's own, as a user has one.
type userManager struct {
	dir   string
	first string // the number of the first process of its namespace
}

// startManager starts a systemd that knows these units, and none else that
// matters. It and all that it starts end with the test.
func startManager(t *testing.T, units map[string]string) *userManager {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "a systemd beside that of the machine takes root")
	}
	dir, err := os.MkdirTemp("", "systemd") // t.TempDir may be too long for its sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	place := filepath.Join(dir, "systemd", "user")
	if err := os.MkdirAll(place, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range units {
		writeFile(t, filepath.Join(place, name), []byte(text))
	}
	// A namespace of process numbers ends all that is in it with its first
	// process. systemd wants to see that the machine was started by systemd.
	cmd := exec.Command(need(t, "unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
		`mount -t tmpfs none /run && mkdir -p /run/systemd/system && "$0" --user & wait`, need(t, "/lib/systemd/systemd"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}
	unshare := launch(t, cmd).cmd.Process.Pid
	m := &userManager{dir: dir}
	eventually(t, "systemd runs", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", unshare))
		m.first = strings.TrimSpace(string(children))
		return err == nil && m.first != "" && m.control("show", "--property=Version").Run() == nil
	})
	return m
}

// control is systemctl, which asks this systemd. It has to be among the
// processes that systemd sees.
func (m *userManager) control(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", m.first, "--mount", "--pid", "systemctl", "--user", "--no-pager"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + m.dir}
	return cmd
}

// do has systemd do something, and wants it to succeed.
func (m *userManager) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.control(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestSocketUnitsStartTheServiceAndOutliveIt: clients that come between one
// process and the next wait, and are served.
func TestSocketUnitsStartTheServiceAndOutliveIt(t *testing.T) {
	t.Parallel()
	if !full() {
		t.Skip("takes a systemd of its own; make test-full runs it")
	}
	p, listen, dir := newPKI(t), reserve(t), t.TempDir()
	id, status := p.server(t), filepath.Join(dir, "status")
	args := append(id.flags(), "server", "--listen", "systemd:web", "--status", "systemd:status",
		"--target", serve(t, "tcp", echo).address, "--cacert", p.root, "--allow-all")
	m := startManager(t, map[string]string{
		"web.socket":    fmt.Sprintf("[Socket]\nListenStream=%s\nFileDescriptorName=web\n", listen),
		"status.socket": fmt.Sprintf("[Socket]\nListenStream=%s\nSocketMode=0600\nFileDescriptorName=status\nService=web.service\n", status),
		"web.service": fmt.Sprintf("[Service]\nType=notify\nWatchdogSec=10\nSockets=web.socket status.socket\nEnvironment=%s\nStandardOutput=append:%s/log\nStandardError=inherit\nExecStart=%s %s\n",
			raceOptions, dir, sallyport(t), strings.Join(args, " ")),
	})
	m.do(t, "start", "web.socket", "status.socket")
	config := p.clientConfig(p.client(t))
	var earlier string
	for range 2 {
		if err := attempt(t, listen, config); err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("%v\n%s", err, log)
		}
		if code, _ := newStatusPort("unix:"+status).get(t, "/readyz"); code != 200 {
			t.Errorf("/readyz answers %d", code)
		}
		pid := m.do(t, "show", "--property=MainPID", "--value", "web.service")
		if pid == earlier {
			t.Errorf("it is process %s again, which was stopped", pid)
		}
		earlier = pid
		m.do(t, "stop", "web.service")
		if result := m.do(t, "show", "--property=Result", "--value", "web.service"); result != "success" {
			t.Errorf("it ended with %q", result)
		}
	}
	if conn, err := net.Dial("unix", status); err != nil {
		t.Errorf("the socket of the status port: %v", err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
