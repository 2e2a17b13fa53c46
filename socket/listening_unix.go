//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package socket

import (
	"os"

	"golang.org/x/sys/unix"
)

// isListening tells whether file is a stream socket that listens.
func isListening(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	listening := false
	err = raw.Control(func(fd uintptr) {
		kind, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || kind != unix.SOCK_STREAM {
			return
		}
		accepting, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		listening = err == nil && accepting != 0
	})
	return err == nil && listening
}
