package config

import (
	"errors"
	"path/filepath"
	"strings"
)

// Allowance is what the sandbox allows beside what the tunnels need that there are
// when the process starts. The zero value is nothing.
type Allowance struct {
	Dirs  []string    // files below may be read, sockets be made and connected to
	Ports []PortRange // of TCP, to listen on and to connect to
}

// PortRange is ports from the first to the last.
type PortRange struct{ First, Last uint16 }

// setAllowance adds ports or a directory to the sandbox.
func setAllowance(d *draft, text string) error {
	allowed := &d.sidecar.LandlockAllow
	if filepath.IsAbs(text) {
		dir := filepath.Clean(text)
		if dir == filepath.Dir(dir) {
			return errors.New("the root directory would be no sandbox; name directories in it, or use --disable-landlock")
		}
		allowed.Dirs = append(allowed.Dirs, dir)
		return nil
	}
	from, to, several := strings.Cut(text, "-")
	if !several {
		to = from
	}
	first, err := parsePort(from)
	if err != nil {
		return errNoAllowance
	}
	last, err := parsePort(to)
	if err != nil || last < first {
		return errNoAllowance
	}
	allowed.Ports = append(allowed.Ports, PortRange{uint16(first), uint16(last)}) //nolint:gosec // parsePort lets no other pass
	return nil
}

var errNoAllowance = errors.New("neither TCP ports nor a directory; write a port, two as FIRST-LAST, or an absolute path")
