package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// The networks that an Address can be of. The first two are called as in
// package net; the others stand for a service manager, which knows more.
const (
	networkTCP     = "tcp"
	networkUNIX    = "unix"
	networkSystemd = "systemd"
	networkLaunchd = "launchd"
)

// maxPath is the longest UNIX socket path in bytes, without the zero that ends
// it: 107 on Linux, 103 on the BSDs.
const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// maxName is the longest name of a socket from systemd (systemd.socket(5),
// FileDescriptorName=).
const maxName = 255

// maxHost is the longest host name in bytes (RFC 1035, section 2.3.4, less the
// length octets).
const maxHost = 253

// Address is where a socket listens or is dialled: a TCP host and port, the
// path of a UNIX stream socket, or the name of a socket that a service manager
// hands over. Addresses are made by ParseAddress and ParseListenAddress, compare
// with ==, and the zero Address stands for none.
type Address struct {
	network string
	host    string // TCP: name, or IP as netip writes it, or "" for every interface
	port    uint16
	path    string // UNIX
	name    string // of a socket that is handed over
}

// ParseListenAddress reads what ParseAddress does, and also systemd:NAME and
// launchd:NAME: a socket that listens already when the process starts, and that
// its service manager calls NAME.
func ParseListenAddress(text string) (Address, error) {
	for _, manager := range []string{networkSystemd, networkLaunchd} {
		if name, ok := strings.CutPrefix(text, manager+":"); ok {
			return parseName(manager, name)
		}
	}
	return ParseAddress(text)
}

func parseName(manager, name string) (Address, error) {
	switch {
	case name == "":
		return Address{}, fmt.Errorf("%s: without a name; write %[1]s:NAME", manager)
	case len(name) > maxName:
		return Address{}, fmt.Errorf("name of %d bytes is too long for a socket from %s; use at most %d", len(name), manager, maxName)
	case strings.ContainsFunc(name, isControl):
		return Address{}, fmt.Errorf("control character in the name of a socket from %s", manager)
	case strings.Contains(name, ":"):
		return Address{}, fmt.Errorf("colon in the name of a socket from %s, which none can have; write %[1]s:NAME", manager)
	}
	return Address{network: manager, name: name}, nil
}

// ParseAddress reads HOST:PORT, [IPv6]:PORT, [IPv6%ZONE]:PORT, :PORT or
// unix:PATH. PORT is a number from 1 to 65535 or the name of a TCP service that
// this system knows. A path that starts with @ is, on Linux, a name in the
// abstract namespace, which has no file.
//
// An error says what is wrong and what to write instead. It does not repeat
// the text, so that callers can say once where that came from.
func ParseAddress(text string) (Address, error) {
	if text == "" {
		return Address{}, errors.New("empty address; write HOST:PORT, [IPv6]:PORT or unix:PATH")
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return parsePath(path)
	}
	return parseHostPort(text)
}

func parsePath(path string) (Address, error) {
	switch {
	case path == "":
		return Address{}, errors.New("unix: without a path; write unix:PATH")
	case len(path) > maxPath:
		return Address{}, fmt.Errorf("path of %d bytes is too long for a UNIX socket; use at most %d", len(path), maxPath)
	case strings.ContainsFunc(path, isControl):
		return Address{}, errors.New("control character in the path of a UNIX socket")
	case isAbstract(path) && len(path) == 1:
		return Address{}, errors.New("unix:@ without a name; write unix:@NAME")
	}
	return Address{network: networkUNIX, path: path}, nil
}

// isAbstract tells whether a path is a name in Linux's abstract namespace.
// Elsewhere it is a path like any other.
func isAbstract(path string) bool { return runtime.GOOS == "linux" && strings.HasPrefix(path, "@") }

func parseHostPort(text string) (Address, error) {
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return Address{}, fmt.Errorf("a URL (%q), not an address; write HOST:PORT alone", scheme+"://")
	}
	host, service, err := splitHostPort(text)
	if err != nil {
		return Address{}, err
	}
	if (host == networkSystemd || host == networkLaunchd) && strings.Trim(service, "0123456789") != "" {
		return Address{}, fmt.Errorf("a socket from %s can be listened on, not connected to; write HOST:PORT or unix:PATH", host)
	}
	port, err := parsePort(service)
	if err != nil {
		return Address{}, err
	}
	return Address{network: networkTCP, host: host, port: port}, nil
}

// splitHostPort is net.SplitHostPort with messages that tell an operator what
// to write, and with the host checked and in canonical form.
func splitHostPort(text string) (host, service string, err error) {
	if rest, ok := strings.CutPrefix(text, "["); ok {
		literal, after, closed := strings.Cut(rest, "]")
		if !closed {
			return "", "", errors.New("no ] after the IPv6 address; write [IPv6]:PORT")
		}
		service, ok := strings.CutPrefix(after, ":")
		if !ok {
			return "", "", errors.New("no port; write [IPv6]:PORT")
		}
		host, err := parseIPv6(literal)
		return host, service, err
	}
	host, service, ok := strings.Cut(text, ":")
	if !ok {
		return "", "", errors.New("no port; write HOST:PORT, or unix:PATH for a UNIX socket")
	}
	if strings.Contains(service, ":") {
		return "", "", errors.New("more than one colon; an IPv6 address goes in brackets: [IPv6]:PORT")
	}
	return host, service, checkHost(host)
}

func parseIPv6(literal string) (string, error) {
	ip, err := netip.ParseAddr(literal)
	if err != nil || !ip.Is6() {
		return "", errors.New("no IPv6 address between the brackets; other hosts go without: HOST:PORT")
	}
	if strings.ContainsFunc(ip.Zone(), isControl) {
		return "", errors.New("control character in the zone of an IPv6 address")
	}
	return ip.String(), nil
}

func checkHost(host string) error {
	if len(host) > maxHost {
		return fmt.Errorf("host name of %d bytes is too long; the limit is %d", len(host), maxHost)
	}
	for _, r := range host {
		if !isHostRune(r) {
			return fmt.Errorf("character %q in the host name; write HOST:PORT, with other alphabets as xn--", r)
		}
	}
	return nil
}

func isHostRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		r == '-' || r == '.' || r == '_'
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func parsePort(service string) (uint16, error) {
	if service == "" {
		return 0, errors.New("no port after the colon; write HOST:PORT")
	}
	if strings.Trim(service, "0123456789") != "" {
		return lookupPort(service)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %s is out of range; use 1 to 65535", service)
	}
	return uint16(port), nil
}

func lookupPort(service string) (uint16, error) {
	port := 0
	var err error
	// Package net would read a sign as part of a number.
	if !strings.ContainsAny(service, "+") && !strings.HasPrefix(service, "-") {
		port, err = net.LookupPort(networkTCP, service)
	}
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %q is neither a number nor a service known here; use 1 to 65535", service)
	}
	return uint16(port), nil
}

// Network is "tcp", "unix", "systemd" or "launchd", and "" for the zero Address.
func (a Address) Network() string { return a.network }

// Host is the host name, or the IP address in its shortest form and with its
// zone. It is "" for an address without host (:PORT) and for other networks.
func (a Address) Host() string { return a.host }

// Port is the TCP port, or 0 if a is of another network.
func (a Address) Port() int { return int(a.port) }

// At is the TCP port of a at an IP address.
func (a Address) At(ip netip.Addr) Address {
	return Address{network: networkTCP, host: ip.String(), port: a.port}
}

// Path is the path of the UNIX socket, or "" if a is of another network.
func (a Address) Path() string { return a.path }

// IsFile tells whether a is a UNIX socket with a file: one that is not in the
// abstract namespace.
func (a Address) IsFile() bool { return a.network == networkUNIX && !isAbstract(a.path) }

// IsActivated tells whether a is a socket that the service manager opens and
// hands over. What kind of socket that is shows only once it is there.
func (a Address) IsActivated() bool { return a.name != "" }

// IsZero tells whether a stands for no address.
func (a Address) IsZero() bool { return a == Address{} }

// IsLocal tells whether only this machine can be meant: localhost, a loopback
// IP address, or a UNIX socket. An address without host is not local, because a
// listener would bind it on every interface. A socket that the service manager
// opens counts as local: where it listens was decided there, on purpose.
func (a Address) IsLocal() bool {
	if a.network == networkUNIX || a.IsActivated() {
		return true
	}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(a.host, "localhost")
}

// String is the address as ParseListenAddress reads it, with the port as a
// number; "" for the zero Address.
func (a Address) String() string {
	switch a.network {
	case networkTCP:
		return a.hostPort()
	case networkUNIX:
		return "unix:" + a.path
	case networkSystemd, networkLaunchd:
		return a.network + ":" + a.name
	}
	return ""
}

// hostPort is how package net wants a TCP address.
func (a Address) hostPort() string {
	return net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

// MarshalText is String as bytes; it never fails.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseListenAddress; on an error a is left as it was.
func (a *Address) UnmarshalText(text []byte) error {
	parsed, err := ParseListenAddress(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}
