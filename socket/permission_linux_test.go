package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fileOf is the file of a UNIX socket.
func fileOf(t *testing.T, path string) (fs.FileMode, Owner) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	system := info.Sys().(*syscall.Stat_t)
	return info.Mode(), Owner{User: int(system.Uid), Group: int(system.Gid)}
}

// TestASocketIsBoundClosed: nobody can be faster than the permissions that it is
// to have.
func TestASocketIsBoundClosed(t *testing.T) {
	t.Parallel()
	a := unixPath(t)
	ln, err := bindClosed(t.Context(), a.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if mode, _ := fileOf(t, a.Path()); mode != fs.ModeSocket|0o600 {
		t.Errorf("the permissions are %v, want those of its user alone", mode)
	}
}

func TestListenSetsPermissionsAndOwner(t *testing.T) {
	t.Parallel()
	own := Owner{User: os.Getuid(), Group: os.Getgid()}
	tests := []struct {
		name  string
		mode  fs.FileMode
		owner *Owner
		want  Owner
		root  bool
	}{
		{"permissions alone", 0o666, nil, own, false},
		{"narrow ones", 0o200, nil, own, false},
		{"the owner that it has", 0o660, &own, own, false},
		{"another group", 0o660, &Owner{-1, 65534}, Owner{own.User, 65534}, true},
		{"another owner", 0o600, &Owner{65534, -1}, Owner{65534, own.Group}, true},
		{"both", 0o660, &Owner{65534, 65534}, Owner{65534, 65534}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.root && os.Getuid() != 0 {
				t.Skip("only root gives files away")
			}
			a := unixPath(t)
			stale := opened(t, "unix", a.Path())
			stale.(interface{ SetUnlinkOnClose(unlink bool) }).SetUnlinkOnClose(false)
			stale.Close()
			ln, err := Listen(t.Context(), a, ListenOptions{Mode: tt.mode, Owner: tt.owner})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if mode, owner := fileOf(t, a.Path()); mode != fs.ModeSocket|tt.mode || owner != tt.want {
				t.Errorf("it is %v of %v, want %v of %v", mode, owner, tt.mode, tt.want)
			}
			if got := ln.Addr().String(); got != a.Path() {
				t.Errorf("it listens at %s, want %s", got, a.Path())
			}
			if os.Getuid() == 0 || tt.mode&0o200 != 0 {
				roundTrip(t, ln, a)
			}
		})
	}
}

// TestPermissionsAreNotGivenToAnotherFile that somebody has put in the place of
// the socket.
func TestPermissionsAreNotGivenToAnotherFile(t *testing.T) {
	t.Parallel()
	path := unixPath(t).Path()
	precious := path + ".precious"
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, replace := range []func(string, string) error{os.Symlink, os.Link} {
		if err := replace(precious, path); err != nil {
			t.Fatal(err)
		}
		if err := permit(path, 0o666, nil); err == nil || err.Error() != "another file has taken its place" {
			t.Errorf("error %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := permit(path, 0o666, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with no file in its place: error %v", err)
	}
	if mode, _ := fileOf(t, precious); mode != 0o600 {
		t.Errorf("its permissions are %v now", mode)
	}
}

// giveNothingAway takes from this test's thread what lets root change owners; the thread ends with the test.
func giveNothingAway(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	sets[0].Effective &^= 1 << unix.CAP_CHOWN
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
}

func TestSocketThatCannotBeGivenAwayIsRemoved(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		giveNothingAway(t)
	}
	a := unixPath(t)
	ln, err := Listen(t.Context(), a, ListenOptions{Mode: 0o600, Owner: &Owner{1, 1}})
	if err == nil {
		ln.Close()
	}
	if !errors.Is(err, fs.ErrPermission) || !strings.HasPrefix(err.Error(), "changing its owner: ") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Lstat(a.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestLookUpOwner(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	for text, want := range map[string]Owner{
		me.Username:                    {uid, -1},
		strconv.Itoa(uid):              {uid, -1},
		me.Username + ":" + group.Name: {uid, gid},
		":" + group.Name:               {-1, gid},
		"4000000:4000001":              {4000000, 4000001},
	} {
		if got, err := LookUpOwner(text); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"no such":                     `no user "no such" on this system; write a name or a number`,
		"-1":                          `no user "-1" on this system; write a name or a number`,
		"4294967295":                  `no user "4294967295" on this system; write a name or a number`,
		fmt.Sprintf("%d:nosuch", uid): `no group "nosuch" on this system; write a name or a number`,
	} {
		if got, err := LookUpOwner(text); err == nil || err.Error() != want {
			t.Errorf("%s is %v, %v; want the error %s", text, got, err, want)
		}
	}
}
