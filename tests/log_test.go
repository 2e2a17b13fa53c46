package tests

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// provoke has a server-mode process log one line of each class: a pipe that
// opens and closes, a target that is gone, a handshake that fails.
func provoke(t *testing.T, flags ...string) *process {
	t.Helper()
	p, listen := newPKI(t), reserve(t)
	path := filepath.Join(t.TempDir(), "target")
	service := serveOn(t, "unix", path, echo)
	server := startServer(t, p, listen, "unix:"+path, append(flags, "--allow-all")...)
	config := p.clientConfig(p.issue(t, "alice", alice))
	if err := attempt(t, listen, config); err != nil {
		t.Fatal(err)
	}
	service.close()
	if attempt(t, listen, config) == nil {
		t.Fatal("the target has gone, and something echoes")
	}
	speakNoTLS(t, listen)
	server.stop(t)
	return server
}

func TestQuietLeavesOutWhatItNames(t *testing.T) {
	t.Parallel()
	classes := map[string][]string{
		"conns":          {"opening pipe", "closed pipe"},
		"conn-errs":      {"error on dial"},
		"handshake-errs": {"error on TLS handshake"},
	}
	for name, flags := range map[string][]string{
		"nothing":        nil,
		"conns":          {"--quiet", "conns"},
		"conn-errs":      {"--quiet", "conn-errs"},
		"handshake-errs": {"--quiet", "handshake-errs"},
		"two":            {"--quiet", "conns", "--quiet", "handshake-errs"},
		"all":            {"--quiet", "all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := provoke(t, flags...)
			for class, messages := range classes {
				left := name == "all" || strings.Contains(strings.Join(flags, " ")+" ", " "+class+" ")
				for _, message := range messages {
					if got := len(server.lines(message)) > 0; got == left {
						t.Errorf("%q is logged: %v", message, got)
					}
				}
			}
			if got := server.stdout.String(); name == "all" && got != "" {
				t.Errorf("standard output %q, want nothing", got)
			}
		})
	}
}

// TestLogFormatJSON has each line be an object, with what it is about in fields
// of its own.
func TestLogFormatJSON(t *testing.T) {
	t.Parallel()
	server := provoke(t, "--log-format", "json")
	fields := map[string][]string{
		"opening pipe":           {"tunnel", "remote", "target", "identity", "server_name", "tls_version"},
		"closed pipe":            {"tunnel", "remote", "target", "identity", "bytes_in", "bytes_out", "duration", "reason"},
		"error on dial":          {"tunnel", "remote", "identity", "reason", "error"},
		"error on TLS handshake": {"tunnel", "remote", "reason", "error"},
	}
	for _, line := range server.lines() {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		message, _ := event["msg"].(string)
		for _, field := range append(fields[message], "time", "level") {
			if value, ok := event[field]; !ok || value == "" {
				t.Errorf("%q has no %q", line, field)
			}
		}
		if message == "closed pipe" {
			if n := float64(len("there and back")); event["bytes_in"] != n || event["bytes_out"] != n || event["reason"] != "eof" {
				t.Errorf("%q, want %v bytes each way and eof", line, n)
			}
		}
		delete(fields, message)
	}
	for message := range fields {
		t.Errorf("%q is not logged", message)
	}
}

func TestLogLevelLeavesOutWhatIsBelow(t *testing.T) {
	t.Parallel()
	server := provoke(t, "--log-level", "error")
	lines := server.lines()
	if len(lines) != 1 || !strings.Contains(lines[0], "error on dial") {
		t.Errorf("logged %q, want the error on dial alone", lines)
	}
}

// TestWhoReadsTheLogMayGo: a collector that crashes takes no connection with it.
func TestWhoReadsTheLogMayGo(t *testing.T) {
	t.Parallel()
	p, listen, status := newPKI(t), reserve(t), reserve(t)
	for _, args := range [][]string{
		append(p.server(t).flags(), "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
			"--cacert", p.root, "--allow-all", "--status", "http://"+status),
		{"netstat", "--listen", reserve(t)},
	} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", append([]string{"-c", `exec "$0" "$@" >&3`, sallyport(t)}, args...)...)
		cmd.ExtraFiles = []*os.File{writer}
		server := launchSallyport(t, nil, cmd)
		_ = writer.Close()
		if _, err := bufio.NewReader(reader).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if server.status != nil {
			server.waitReady(t)
			conn := connect(t, listen, p.clientConfig(p.client(t)))
			if err := roundTrip(conn); err != nil {
				t.Fatal(err)
			}
			_ = reader.Close()
			for range 3 {
				if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
					t.Errorf("once nobody reads the log: %v", err)
				}
			}
			if err := roundTrip(conn); err != nil {
				t.Errorf("who was connected: %v", err)
			}
			_ = conn.Close()
		}
		_ = reader.Close()
		server.signal(t, syscall.SIGTERM)
		if code := server.exit(t); code != 0 {
			t.Errorf("%s: exit code %d", args[0], code)
		}
	}
}
