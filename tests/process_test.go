package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process is a program that a test has started: sallyport, or a peer of it.
// It is killed, if it still runs, when the test ends. A data race or a panic in
// it fails the test, and if the test has failed, what it printed is shown.
type process struct {
	stdout, stderr output

	name   string // the command line, for messages
	cmd    *exec.Cmd
	status *statusPort // nil without --status
	done   chan struct{}
}

// start starts sallyport, and waits until it is ready. It fails the test if
// sallyport ends instead.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := startUnready(t, nil, args...)
	p.waitReady(t)
	return p
}

// raceOptions has the race detector of a binary not wait a second at its end.
const raceOptions = "GORACE=atexit_sleep_ms=0"

// startUnready starts sallyport with the given variables (NAME=value) alone in
// its environment, and does not wait for anything.
func startUnready(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return launchSallyport(t, env, exec.Command(sallyport(t), args...))
}

// startLimited is start for a process that may have no more than so many
// descriptors.
func startLimited(t *testing.T, descriptors int, args ...string) *process {
	t.Helper()
	limited := []string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors), sallyport(t)}
	p := launchSallyport(t, nil, exec.Command("sh", append(limited, args...)...))
	p.waitReady(t)
	return p
}

// launchSallyport launches a command that sallyport's flags are among.
func launchSallyport(t *testing.T, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), raceOptions}, env...)
	p := launch(t, cmd)
	if i := slices.Index(cmd.Args, "--status"); i >= 0 && i+1 < len(cmd.Args) {
		p.status = newStatusPort(cmd.Args[i+1])
	}
	return p
}

// startPeer starts another program, as need finds it.
func startPeer(t *testing.T, program string, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(need(t, program), args...))
}

// launch starts cmd and sees to its end.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: strings.Join(cmd.Args, " "), cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // exit reads the ProcessState instead
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s: %v", p.name, err)
		}
		<-p.done
		for _, sign := range []string{"\nWARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains("\n"+p.stderr.String(), sign) {
				t.Errorf("%s: %s", p.name, strings.TrimSpace(sign))
			}
		}
		if t.Failed() {
			t.Logf("%s\nstandard output:\n%s\nstandard error:\n%s", p.name, &p.stdout, &p.stderr)
		}
	})
	return p
}

// waitReady waits until the status port says that the process is ready or, if
// it has none, until it logs that it listens.
func (p *process) waitReady(t *testing.T) {
	t.Helper()
	if p.status == nil {
		p.waitLine(t, "listening")
		return
	}
	eventually(t, p.name+" is ready", func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended with code %d before it was ready", p.name, p.cmd.ProcessState.ExitCode())
		default:
		}
		return p.status.ready(t)
	})
}

// waitLine waits for a line of standard output that holds all of parts, and
// returns the first. The process may have ended meanwhile.
func (p *process) waitLine(t *testing.T, parts ...string) string {
	t.Helper()
	return p.waitLines(t, 1, parts...)[0]
}

// waitLines is waitLine for at least n such lines, and returns all.
func (p *process) waitLines(t *testing.T, n int, parts ...string) []string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		// Whoever sees the end of the process sees all it has printed.
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		found, changed := p.stdout.lines(parts...)
		switch {
		case len(found) >= n:
			return found
		case ended:
			t.Fatalf("%s ended having printed %d lines with %q, want %d", p.name, len(found), parts, n)
		}
		select {
		case <-changed:
		case <-p.done:
		case <-deadline.C:
			t.Fatalf("%s: waited %v for %d lines with %q, got %d", p.name, patience, n, parts, len(found))
		}
	}
}

// lines returns the lines of standard output so far that hold all of parts.
func (p *process) lines(parts ...string) []string {
	found, _ := p.stdout.lines(parts...)
	return found
}

// signal sends the process a signal.
func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%s: %v: %v", p.name, sig, err)
	}
}

// exit waits until the process has ended and returns its exit code (-1 after a
// signal that killed it).
func (p *process) exit(t *testing.T) int {
	t.Helper()
	receive(t, fmt.Sprintf("the end of %s", p.name), p.done)
	return p.cmd.ProcessState.ExitCode()
}

// stop ends sallyport as a service manager does, and fails the test unless it
// ends cleanly.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("%s: exit code %d after SIGTERM, want 0", p.name, code)
	}
}

// run runs sallyport to its end.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := startUnready(t, nil, args...)
	code = p.exit(t)
	return code, p.stdout.String(), p.stderr.String()
}
