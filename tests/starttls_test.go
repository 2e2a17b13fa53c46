package tests

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// A home is a directory of a user whom servers run as that refuse to run as
// root. Where the tests are not run by root, that is whoever runs them.
type home struct {
	dir  string
	user *syscall.Credential // nil: whoever runs the tests
	name string
}

// newHome makes a home for a user that the package of the server has made.
func newHome(t *testing.T, name string) *home {
	t.Helper()
	dir, err := os.MkdirTemp("", "sallyport-home-") // t.TempDir lets nobody else in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &home{dir: dir}
	if os.Geteuid() != 0 {
		who, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		h.name = who.Username
		return h
	}
	who, err := user.Lookup(name)
	if err != nil {
		skip(t, err.Error()+": make peers installs what brings that user")
	}
	ids := [2]uint32{}
	for i, text := range []string{who.Uid, who.Gid} {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = uint32(id)
	}
	h.name, h.user = name, &syscall.Credential{Uid: ids[0], Gid: ids[1]}
	h.own(t, dir)
	return h
}

// own makes a file or directory the user's.
func (h *home) own(t *testing.T, path string) {
	t.Helper()
	if h.user == nil {
		return
	}
	if err := os.Chown(path, int(h.user.Uid), int(h.user.Gid)); err != nil {
		t.Fatal(err)
	}
}

// write makes a file in the home.
func (h *home) write(t *testing.T, name string, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(h.dir, name)
	writeFile(t, path, data)
	h.own(t, path)
	return path
}

// mkdir makes a directory in the home.
func (h *home) mkdir(t *testing.T, name string) (path string) {
	t.Helper()
	path = filepath.Join(h.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	h.own(t, path)
	return path
}

// command is a program that runs as the user.
func (h *home) command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), need(t, program), args...)
	cmd.Dir = h.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.user}
	return cmd
}

// run runs a program as the user to its end.
func (h *home) run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := h.command(t, program, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}
