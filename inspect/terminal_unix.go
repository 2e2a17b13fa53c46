//go:build unix

package inspect

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalSize is how many columns and lines a terminal has; ok tells whether the
// file is one.
func terminalSize(file *os.File) (width, height int, ok bool) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var size *unix.Winsize
	var notOne error
	err = raw.Control(func(fd uintptr) {
		size, notOne = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
	})
	if err != nil || notOne != nil {
		return 0, 0, false
	}
	return int(size.Col), int(size.Row), true
}
