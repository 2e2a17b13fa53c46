package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// Listen opens a at once; ctx bounds the resolving of its host name alone.
//
// TCP listeners have keep-alive on and, where the system knows it, SO_REUSEPORT,
// so that the next process can take the port over before this one lets go.
//
// The file of a UNIX socket is removed by Close. A file that a process left
// behind is replaced; one that is served, or that is no socket, is an error.
func Listen(ctx context.Context, a Address) (net.Listener, error) {
	switch a.network {
	case networkTCP:
		lc := net.ListenConfig{Control: reusePort}
		return lc.Listen(ctx, networkTCP, a.hostPort())
	case networkUNIX:
		return listenUNIX(ctx, a.path)
	}
	return nil, errNoAddress
}

func listenUNIX(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, networkUNIX, path)
	if err == nil || !errors.Is(err, syscall.EADDRINUSE) || strings.HasPrefix(path, "@") {
		return ln, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
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
		return fmt.Errorf("listen unix %s: there is a file that is not a socket; move it or choose another path", path)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, networkUNIX, path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("listen unix %s: another process serves this socket; stop it or choose another path", path)
	}
	// Only a refusal proves that nobody listens: a full backlog, or a socket of
	// another type, fails differently and must be left alone.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen unix %s: the socket is taken: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replacing a stale socket: %w", err)
	}
	return nil
}
