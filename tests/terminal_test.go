package tests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A terminal is a pseudo-terminal that a program under test writes to.
type terminal struct {
	output
	control *os.File // our end
	device  *os.File // the program's; closed once it has it
	ended   chan struct{}
}

// newTerminal opens a terminal of so many columns and lines.
func newTerminal(t *testing.T, columns, lines uint16) *terminal {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		skip(t, "no pseudo-terminals: "+err.Error())
	}
	fd := int(control.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines}); err != nil {
		t.Fatal(err)
	}
	device, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{control: control, device: device, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_, _ = io.Copy(&s.output, control) // EIO when nobody has the device any more
	}()
	t.Cleanup(func() {
		_ = device.Close() // launch may have closed it
		<-s.ended
		_ = control.Close()
	})
	return s
}

// launch starts a command that writes to the terminal.
func (s *terminal) launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: cmd.String(), cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s.device, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // exit reads the ProcessState instead
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, unless the test failed
		<-p.done
	})
	if err := s.device.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

// rest is all that was written, once the program has ended.
func (s *terminal) rest(t *testing.T) string {
	t.Helper()
	receive(t, "the end of what the terminal is sent", s.ended)
	return s.String()
}
