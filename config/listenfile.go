package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// parseMode reads the permissions of a socket. To connect is to write.
func parseMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	switch {
	case err != nil || mode > uint64(fs.ModePerm):
		return 0, errors.New("not permissions; write three octal digits, such as 0660")
	case mode&0o222 == 0:
		return 0, errors.New("nobody could connect, which takes the permission to write; use 0600, 0660 or 0666")
	}
	return fs.FileMode(mode), nil
}

// parseOwner reads USER, USER:GROUP or :GROUP. Whether they exist is for those
// to find out who may open files.
func parseOwner(text string) (string, error) {
	user, group, grouped := strings.Cut(text, ":")
	if user+group == "" || grouped && group == "" || strings.ContainsFunc(text, isControl) || strings.Contains(group, ":") {
		return "", errors.New("not an owner; write USER, USER:GROUP or :GROUP")
	}
	return text, nil
}

// checkListenFile wants a file for permissions and an owner, and settles what
// an owner comes with: if a group was named, its members are to connect.
func (d *draft) checkListenFile() error {
	t := &d.tunnel
	for _, name := range []string{"listen-mode", "listen-owner"} {
		if _, given := d.from[name]; given && !t.Listen.IsFile() && !t.Listen.IsZero() {
			return fmt.Errorf("%s and %s %s: only the file of a UNIX socket has permissions and an owner; leave the first out, or listen on unix:PATH", d.name(name), d.name("listen"), t.Listen)
		}
	}
	switch {
	case t.ListenOwner == "" || t.ListenMode != 0:
	case strings.Contains(t.ListenOwner, ":"):
		t.ListenMode = 0o660
	default:
		t.ListenMode = 0o600
	}
	return nil
}

// octal writes permissions as the operator did.
func octal(mode fs.FileMode) string {
	if mode == 0 {
		return ""
	}
	return fmt.Sprintf("%#o", mode)
}
