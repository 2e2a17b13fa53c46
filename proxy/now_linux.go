package proxy

import (
	"syscall"
	"unsafe"
)

// The scheduler is not told of these system calls. It would wake its monitor, a thread of its own, for the first one after a moment in which
// there was nothing to do: for a request that comes alone, that is a quarter of all that it costs. What the monitor is for cannot
// happen here, as a socket that does not block keeps nobody waiting, be the other side as slow as it likes.

// readNow is read(2) on a socket that does not block.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // the kernel writes within p
	return int(n), err
}

// writeNow is write(2) on a socket that does not block.
func writeNow(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // the kernel reads within p
	return int(n), err
}
