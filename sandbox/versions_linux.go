package sandbox

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// learnVersions has package net find out which IP versions the system has. It does so once, when it first listens on every
// interface, and by binding a socket to a port of the system's choice. In the sandbox it may not, and would listen on IPv4
// alone.
func learnVersions() {
	here := errors.New("this is far enough") // the versions are known before the socket is bound
	lc := net.ListenConfig{Control: func(string, string, syscall.RawConn) error { return here }}
	_, _ = lc.Listen(context.Background(), "tcp", ":0")
}
