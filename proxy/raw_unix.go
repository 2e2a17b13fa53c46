//go:build unix

package proxy

import (
	"net"
	"os"
	"syscall"
)

// rawOf is what leads to the socket of a connection; nil if it has none of its own.
func rawOf(conn net.Conn) syscall.RawConn {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// callError is a system call on a connection's socket that failed, as package net tells it.
func callError(call string, conn net.Conn, number syscall.Errno) error {
	return &net.OpError{
		Op: call, Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(),
		Err: os.NewSyscallError(call, number),
	}
}
