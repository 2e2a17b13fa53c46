//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package socket

import "syscall"

// reusePort does nothing: this system cannot share a port between sockets.
func reusePort(_, _ string, _ syscall.RawConn) error { return nil }
