//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package socket

import (
	"context"
	"errors"
	"io/fs"
	"net"
)

// errNoPermissions is what asking for permissions of a socket ends with.
var errNoPermissions = errors.New("this system has no permissions for UNIX sockets; leave --listen-mode and --listen-owner out")

func bindClosed(context.Context, string) (net.Listener, error) { return nil, errNoPermissions }

func permit(string, fs.FileMode, *Owner) error { return errNoPermissions }
