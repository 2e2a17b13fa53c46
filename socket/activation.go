package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// Activation is what systemd handed over to this process: sockets that listen
// already, each with a name (sd_listen_fds(3)). What launchd has is asked for by
// name, when it is listened on. It is not safe for concurrent use.
type Activation struct {
	given []string   // the names of all, in order
	files []*os.File // those that nobody has taken
}

// Activated takes over what was handed over, and removes from the environment
// what tells of it, so that no child process takes it for its own. There is
// nothing to take over twice: a process calls this once.
func Activated() *Activation {
	a := new(Activation)
	a.files = activation.Files(true)
	_ = os.Unsetenv("LISTEN_PIDFDID") // newer than that package; it fails for malformed names alone
	for _, file := range a.files {
		a.given = append(a.given, file.Name())
	}
	return a
}

// take gives the socket that an address names.
func (a *Activation) take(at Address) (net.Listener, error) {
	if at.network == networkLaunchd {
		return launchd(at.name)
	}
	if a == nil || len(a.given) == 0 {
		return nil, errors.New("systemd handed over no socket; start the process by a .socket unit")
	}
	named := func(file *os.File) bool { return file.Name() == at.name }
	i := slices.IndexFunc(a.files, named)
	switch {
	case i < 0 && slices.Contains(a.given, at.name):
		return nil, errors.New("is in use already")
	case i < 0:
		return nil, fmt.Errorf("systemd handed over no socket of this name, but %s; FileDescriptorName= in the .socket unit gives it one", strings.Join(a.given, ", "))
	case slices.ContainsFunc(a.files[i+1:], named):
		return nil, errors.New("systemd handed over several sockets of this name; give each a .socket unit with a FileDescriptorName= of its own")
	}
	file := a.files[i]
	a.files = slices.Delete(a.files, i, i+1)
	return listenerOf(file)
}

// Close closes the sockets that nobody has taken, and gives their names.
func (a *Activation) Close() (unused []string, err error) {
	var errs []error
	for _, file := range a.files {
		unused = append(unused, file.Name())
		errs = append(errs, file.Close())
	}
	a.files = nil
	return unused, errors.Join(errs...)
}

// listenerOf turns the descriptor of a socket into a listener, and closes it.
func listenerOf(file *os.File) (net.Listener, error) {
	ln, err := fileListener(file)
	if closed := file.Close(); err == nil && closed != nil {
		err = errors.Join(closed, ln.Close())
	}
	if err != nil {
		return nil, err
	}
	return ln, nil
}

func fileListener(file *os.File) (net.Listener, error) {
	if !isListening(file) {
		return nil, errors.New("is no socket that accepts connections; use ListenStream= without Accept=yes in the .socket unit")
	}
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("taking over its socket: %w", err)
	}
	return ln, nil
}
