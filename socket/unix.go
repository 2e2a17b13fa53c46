package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
)

// unixListener removes the file that it made, and no other: the next process may
// have put its own socket in the place before this one lets go.
type unixListener struct {
	*net.UnixListener
	path  string
	made  fs.FileInfo
	close func() error
}

// closedMode is the permissions of a socket's file until it has its own.
const closedMode = 0o600

func listenUNIX(ctx context.Context, path string, o ListenOptions) (net.Listener, error) {
	bind := bindOpen
	if o.Mode != 0 {
		bind = bindClosed
	}
	ln, err := bindUNIX(ctx, path, bind)
	if err != nil || isAbstract(path) {
		return ln, err
	}
	if o.Mode != 0 {
		if err := permit(path, o.Mode, o.Owner); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	u := &unixListener{UnixListener: ln.(*net.UnixListener), path: path, made: made}
	u.SetUnlinkOnClose(false)
	u.close = sync.OnceValue(u.removeAndClose)
	return u, nil
}

// Close may be called more than once.
func (u *unixListener) Close() error { return u.close() }

func (u *unixListener) removeAndClose() error {
	if found, err := os.Lstat(u.path); err == nil && os.SameFile(found, u.made) {
		err = os.Remove(u.path)
		return errors.Join(err, u.UnixListener.Close())
	}
	return u.UnixListener.Close()
}

// bindUNIX calls bind, and once more if a file was in its way that nobody needs.
func bindUNIX(ctx context.Context, path string, bind func(context.Context, string) (net.Listener, error)) (net.Listener, error) {
	if isAbstract(path) {
		return bind(ctx, path)
	}
	release := claim(ctx, path)
	defer release()
	ln, err := bind(ctx, path)
	if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	return bind(ctx, path)
}

// bindOpen binds a UNIX socket whose file is what the umask makes of it.
func bindOpen(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, networkUNIX, path)
}

// removeStale removes the socket file that keeps path from being bound, if no
// process answers on it any more.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its owner has just removed it
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket; move it or choose another path")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, networkUNIX, path)
	if err == nil {
		conn.Close()
		return errors.New("another process serves this socket; stop it or choose another path")
	}
	// Only a refusal proves that nobody listens: a full backlog, or a socket of
	// another type, fails differently and must be left alone.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("the socket is taken: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replacing a stale socket: %w", err)
	}
	return nil
}
