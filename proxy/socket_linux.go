package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes returns how many bytes of the socket's send buffer the peer has not taken yet: for TCP, has not acknowledged
// (tcp(7), SIOCOUTQ).
func unsentBytes(socket net.Conn) (n int, known bool) {
	err := control(socket, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n, err == nil
}

// isDead reports whether a TCP connection is over in both directions, as it is when the system has given the peer up.
func isDead(socket net.Conn) (dead bool) {
	const closed = 7 // TCP_CLOSE of the kernel's tcp_states.h
	err := control(socket, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		dead = err == nil && info.State == closed
		return err
	})
	return err == nil && dead
}

// control calls a function with the descriptor of a socket.
func control(socket net.Conn, f func(fd int) error) error {
	system, ok := socket.(syscall.Conn)
	if !ok {
		return syscall.ENOTSUP
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := raw.Control(func(fd uintptr) { failure = f(int(fd)) }); err != nil {
		return err
	}
	return failure
}
