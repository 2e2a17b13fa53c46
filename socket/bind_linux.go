package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindClosed binds a UNIX socket whose file only the process's own user may use.
// Linux gives the file the permissions of the socket, less the umask, and before
// it is bound those can be set: unlike the umask, which belongs to the whole
// process, that is nobody else's business.
func bindClosed(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var set error
		if err := conn.Control(func(fd uintptr) { set = os.NewSyscallError("fchmod", unix.Fchmod(int(fd), closedMode)) }); err != nil {
			return err
		}
		return set
	}}
	return lc.Listen(ctx, networkUNIX, path)
}

// permit gives the file of a socket its owner, and then its permissions. By path
// it would give them to whatever somebody else has put there by now.
func permit(path string, mode fs.FileMode, owner *Owner) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var found unix.Stat_t
	if err := unix.Fstat(fd, &found); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if found.Mode&unix.S_IFMT != unix.S_IFSOCK || int(found.Uid) != os.Geteuid() {
		return errors.New("another file has taken its place")
	}
	if owner != nil {
		if err := unix.Fchownat(fd, "", owner.User, owner.Group, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("changing its owner: %w", err)
		}
	}
	// Before Linux 6.6 a descriptor of this kind can be named, but not changed.
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(mode.Perm())); err != nil {
		return fmt.Errorf("changing its permissions: %w", err)
	}
	return nil
}
