package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	access "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// What the rules let do with what is below a directory. None lets execute anything.
const (
	reading  landlock.AccessFSSet = access.AccessFSReadFile | access.AccessFSReadDir
	changing landlock.AccessFSSet = access.AccessFSWriteFile | access.AccessFSTruncate |
		access.AccessFSMakeReg | access.AccessFSMakeDir | access.AccessFSRemoveFile | access.AccessFSRemoveDir
	binding    landlock.AccessFSSet = access.AccessFSMakeSock | access.AccessFSRemoveFile
	connecting landlock.AccessFSSet = access.AccessFSResolveUnix

	// onFiles are the rights that there can be to a single file.
	onFiles landlock.AccessFSSet = access.AccessFSReadFile | access.AccessFSWriteFile | access.AccessFSTruncate | access.AccessFSResolveUnix
)

func enter(r Rules) (abi int, err error) {
	abi, err = access.LandlockGetABIVersion()
	if err != nil || abi <= 0 {
		return 0, nil //nolint:nilerr // the kernel has none, or a seccomp filter keeps it away
	}
	var s ruleset
	s.paths(r)
	s.ports(r)
	config := landlock.V11 // the newest: it forbids all that can be forbidden
	for _, path := range r.DialSockets {
		if strings.HasPrefix(path, "@") {
			config.Scoped &^= access.ScopeAbstractUnixSocket
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	learnVersions()
	return abi, config.BestEffort().Restrict(s.rules...)
}

// ruleset gathers the rules for the kernel.
type ruleset struct {
	rules []landlock.Rule
	err   error
}

func (s *ruleset) paths(r Rules) {
	for _, path := range r.Files {
		s.home(path, reading)
	}
	for _, path := range r.WriteDirs {
		s.path(path, reading|changing)
	}
	for _, path := range r.ListenSockets {
		if !strings.HasPrefix(path, "@") && path != "" {
			// To connect is how to find out whether anybody listens on a socket that is there.
			s.path(filepath.Dir(path), binding|connecting)
		}
	}
	for _, path := range r.DialSockets {
		if !strings.HasPrefix(path, "@") {
			s.home(path, connecting)
		}
	}
	if r.SystemLog {
		s.home("/dev/log", connecting) // systemd's is a link
		s.path(devices, connecting)    // another is made anew there, and there are no other sockets
	}
	system := readAlways()
	if r.Resolver {
		system = append(system, resolverFiles()...)
	}
	if r.SystemTrust {
		system = append(system, trustPlaces()...)
	}
	for _, path := range system {
		s.path(settled(path), reading)
	}
	if r.Itself {
		s.itself()
	}
}

func (s *ruleset) ports(r Rules) {
	connect := r.ConnectPorts
	if r.Proxies {
		connect = append(proxyPorts(), connect...)
	}
	if r.Resolver {
		connect = append([]uint16{dnsPort}, connect...)
		s.rules = append(s.rules, landlock.BindUDP(0), // any: the kernel chooses one to send from
			landlock.ConnectSendUDP(dnsPort), landlock.ConnectSendUDP(discardPort))
	}
	for _, port := range connect {
		s.rules = append(s.rules, landlock.ConnectTCP(port))
	}
	for _, port := range r.BindPorts {
		s.rules = append(s.rules, landlock.BindTCP(port))
	}
}

// home allows something where the file at path is at home.
func (s *ruleset) home(path string, allowed landlock.AccessFSSet) {
	if path == "" {
		return
	}
	for _, dir := range homes(path) {
		s.path(dir, allowed)
	}
}

// path allows something at path and below, if there is anything.
func (s *ruleset) path(path string, allowed landlock.AccessFSSet) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		return // it does not exist, or is as good as that to this process
	}
	if !info.IsDir() {
		allowed &= onFiles
	}
	if allowed != 0 {
		s.rules = append(s.rules, landlock.PathAccess(allowed, path).IgnoreIfMissing())
	}
}

// itself allows to read what /proc tells about the process. A rule is tied to an inode, and those of /proc are made anew
// once the kernel has dropped them to save memory: so these are kept in use, for as long as the sandbox is there.
func (s *ruleset) itself() {
	for _, path := range []string{"/proc/self", "/proc/stat"} {
		if _, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			if !errors.Is(err, unix.ENOENT) {
				s.err = errors.Join(s.err, fmt.Errorf("opening %s: %w", path, err))
			}
			continue // without /proc there is nothing to read
		}
		s.path(path, reading)
	}
}
