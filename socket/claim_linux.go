package socket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long another process may take for a place, which is a few system calls,
// and how often it is looked whether it is done.
const (
	claimWait = time.Second
	claimLook = 5 * time.Millisecond
)

// claim waits until no other process is about to put a socket at path, and keeps
// them from it until release. Two of them that found the same stale file would
// replace it both, and one of them the socket of the other.
//
// The claim is a name in the abstract namespace, which goes with the process and
// needs no right to any file. It is an agreement among those who ask for it, of
// one network namespace; whoever sits on the name for long is not waited for.
func claim(ctx context.Context, path string) (release func()) {
	free := func() {}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return free // to bind will tell
	}
	at, ok := dir.Sys().(*syscall.Stat_t)
	if !ok {
		return free
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return free
	}
	release = func() { _ = unix.Close(fd) }
	file := sha256.Sum256([]byte(filepath.Base(path))) // which may be as long as a name
	name := &unix.SockaddrUnix{Name: fmt.Sprintf("@sallyport/%x/%x/%x", at.Dev, at.Ino, file[:8])}

	ctx, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	again := time.NewTicker(claimLook)
	defer again.Stop()
	for errors.Is(unix.Bind(fd, name), unix.EADDRINUSE) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return release
		}
	}
	return release
}
