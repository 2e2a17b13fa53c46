//go:build unix && !linux

package proxy

import (
	"errors"
	"syscall"
)

// readNow is read(2) on a socket that does not block.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return n, numbered(err)
}

// writeNow is write(2) on a socket that does not block.
func writeNow(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	return n, numbered(err)
}

// numbered is the error of a system call as what it always is here.
func numbered(err error) (number syscall.Errno) {
	errors.As(err, &number)
	return number
}
