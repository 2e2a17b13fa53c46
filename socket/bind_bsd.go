//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package socket

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// bindClosed binds a UNIX socket whose file only the process's own user may use.
// Here the umask alone decides. It belongs to the whole process, so it is one
// that does no harm: what other goroutines create in that moment is not open to
// others either, and their directories can still be entered.
func bindClosed(ctx context.Context, path string) (net.Listener, error) {
	before := unix.Umask(0o777 &^ closedDirMode)
	defer unix.Umask(before)
	var lc net.ListenConfig
	return lc.Listen(ctx, networkUNIX, path)
}

// closedDirMode is closedMode for directories.
const closedDirMode = 0o700

// permit gives the file of a socket its owner, and then its permissions, and
// follows no symbolic link to another.
func permit(path string, mode fs.FileMode, owner *Owner) error {
	if owner != nil {
		if err := os.Lchown(path, owner.User, owner.Group); err != nil {
			return fmt.Errorf("changing its owner: %w", err)
		}
	}
	if err := unix.Fchmodat(unix.AT_FDCWD, path, uint32(mode.Perm()), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("changing its permissions: %w", err)
	}
	return nil
}
