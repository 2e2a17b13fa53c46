package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// limited is the line that tells what limits there are.
const limited = "running within limits"

// newCgroup makes a cgroup whose processes may have so many bytes of memory, and returns the file that a process joins it by.
// It skips the test where none can be made.
func newCgroup(t *testing.T, bytes int) (join string) {
	t.Helper()
	name := fmt.Sprintf("sallyport-test-%d", os.Getpid())
	var failure error
	for _, kind := range []struct{ root, limit string }{
		{"/sys/fs/cgroup", "memory.max"},                   // version 2
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, // version 1
	} {
		if _, failure = os.Stat(filepath.Join(kind.root, "cgroup.procs")); failure != nil {
			continue // not a cgroup itself
		}
		dir := filepath.Join(kind.root, name)
		if failure = os.Mkdir(dir, 0o755); failure != nil {
			continue
		}
		failure = os.WriteFile(filepath.Join(dir, kind.limit), fmt.Append(nil, bytes), 0o600)
		if failure == nil {
			t.Cleanup(func() { eventually(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil }) })
			return filepath.Join(dir, "cgroup.procs")
		}
		_ = os.Remove(dir)
	}
	skip(t, fmt.Sprintf("no cgroup can be made: %v", failure))
	return ""
}

func TestMemoryIsLimitedByTheCgroup(t *testing.T) {
	t.Parallel()
	const allowed = 300 << 20
	join := newCgroup(t, allowed)
	p := newPKI(t)
	args := append([]string{"-c", `echo $$ >"$0" && exec "$@"`, join, sallyport(t)}, serverLine(t, p, reserve(t), reserve(t), "--allow-all")...)
	server := launchSallyport(t, nil, exec.Command("sh", args...))
	server.waitReady(t)
	server.waitLine(t, limited, fmt.Sprintf("memory=%d from=cgroup", allowed/10*9))
}

func TestMemoryLimitOfTheOperatorStays(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	server := startUnready(t, []string{"GOMEMLIMIT=100MiB"}, serverLine(t, p, reserve(t), reserve(t), "--allow-all")...)
	server.waitReady(t)
	server.waitLine(t, limited, fmt.Sprintf("memory=%d from=GOMEMLIMIT", 100<<20))
}

// TestMemoryIsGivenBackAtRest, here that which it took to read a large file: tens of megabytes, most of which is garbage then.
func TestMemoryIsGivenBackAtRest(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	m.write(t, one("web", reserve(t), reserve(t), "allow-cn: ["+strings.Repeat("client, ", 50000)+"]"))
	m.run(t, "--log-level", "debug")
	line := m.waitLine(t, "gave memory back to the system")
	_, held, _ := strings.Cut(line, "held_before=")
	var before, after int
	if _, err := fmt.Sscanf(held, "%d held=%d", &before, &after); err != nil || after > before/2 {
		t.Errorf("%s: %v; want less than half of what was held", line, err)
	}
	m.stop(t)
}
