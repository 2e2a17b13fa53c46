package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// startDemo builds the demo, as make demo does, and starts it.
func startDemo(t *testing.T, env ...string) *process {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "sallyport/tests/demo").CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, sallyport(t))
	cmd.Env = append(os.Environ(), append(env, raceOptions, "TMPDIR="+t.TempDir())...)
	return launch(t, cmd)
}

func TestDemoEndsByItselfWithDemoOnce(t *testing.T) {
	t.Parallel()
	demo := startDemo(t, "DEMO_ONCE=1")
	if code := demo.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if ok, failed := demo.lines("  ok  "), demo.lines("FAILED"); len(ok) < 5 || len(failed) > 0 {
		t.Errorf("%d steps went well, want all: %q", len(ok), failed)
	}
	for _, name := range []string{"server", "client"} {
		if len(demo.lines("The "+name+" tunnel has ended cleanly.")) != 1 {
			t.Errorf("the %s tunnel has not ended cleanly", name)
		}
	}
}

// TestDemoWaitsForCtrlC and shows meanwhile what to try by hand, which then
// works.
func TestDemoWaitsForCtrlC(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	demo := startDemo(t, "DEMO_ONCE=0")
	demo.waitLine(t, "Ctrl-C ends the demo.")
	for _, command := range demo.lines("  curl ") {
		command = strings.TrimSpace(command)
		if strings.HasPrefix(command, "$") {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command+" --noproxy '*' --silent --show-error --fail").CombinedOutput()
		refused := strings.Contains(command, "--cacert") && !strings.Contains(command, "--cert") && !strings.Contains(command, "/_")
		if (err != nil) != refused {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	demo.signal(t, syscall.SIGINT)
	if code := demo.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
