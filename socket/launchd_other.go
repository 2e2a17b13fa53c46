//go:build !darwin

package socket

import (
	"errors"
	"net"
)

// launchd gives a socket that launchd hands over.
func launchd(string) (net.Listener, error) {
	return nil, errors.New("there is no launchd on this system; write HOST:PORT, unix:PATH or systemd:NAME")
}
