package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// launchd gives the socket that launchd hands over under a name
// (launch_activate_socket(3)).
func launchd(name string) (net.Listener, error) {
	fds, err := activateSocket(name)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return nil, errors.New("launchd has no socket of this name; add it to Sockets in the job's property list")
	case errors.Is(err, syscall.ESRCH):
		return nil, errors.New("launchd did not start this process; load it as a job with Sockets in its property list")
	case errors.Is(err, syscall.EALREADY):
		return nil, errors.New("is in use already")
	case err != nil:
		return nil, fmt.Errorf("asking launchd for it: %w", err)
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		syscall.CloseOnExec(int(fd))
		files[i] = os.NewFile(uintptr(fd), name)
	}
	if len(files) != 1 {
		for _, file := range files {
			_ = file.Close() // nothing was done with it
		}
		return nil, fmt.Errorf("launchd handed over %d sockets of this name, want 1; set SockFamily to IPv4 or IPv6 in the job's property list", len(files))
	}
	return listenerOf(files[0])
}

// activateSocket calls launch_activate_socket of the C library as package
// syscall calls all of it, so that it takes no cgo.
func activateSocket(name string) ([]int32, error) {
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return nil, err
	}
	var first *int32 // an array that the C library has allocated
	var count uintptr
	result, _, _ := call(launchActivateSocket,
		uintptr(unsafe.Pointer(text)), uintptr(unsafe.Pointer(&first)), uintptr(unsafe.Pointer(&count)))
	if errno := int32(result); errno != 0 { // a C int: the rest of the register is anything
		return nil, syscall.Errno(errno)
	}
	fds := append([]int32(nil), unsafe.Slice(first, count)...)
	_, _, _ = call(free, uintptr(unsafe.Pointer(first)), 0, 0)
	return fds, nil
}

// Where these functions are; launchd_darwin.s has it.
var (
	launchActivateSocket uintptr
	free                 uintptr
)

//go:cgo_import_dynamic libc_launch_activate_socket launch_activate_socket "/usr/lib/libSystem.B.dylib"
//go:cgo_import_dynamic libc_free free "/usr/lib/libSystem.B.dylib"

// call calls a C function. It is package syscall's, which leaves it open to
// golang.org/x/sys and its like.
//
//go:linkname call syscall.syscall
func call(fn, a1, a2, a3 uintptr) (r1, r2 uintptr, err syscall.Errno)
