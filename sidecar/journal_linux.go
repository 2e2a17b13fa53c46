package sidecar

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// isJournal reports whether out is the stream that systemd calls "DEVICE:INODE".
func isJournal(out io.Writer, stream string) bool {
	file, ok := out.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && fmt.Sprintf("%d:%d", stat.Dev, stat.Ino) == stream
}
