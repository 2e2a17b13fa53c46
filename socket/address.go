package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The networks that an Address can be of, as package net names them.
const (
	networkTCP  = "tcp"
	networkUNIX = "unix"
)

// maxPath is the longest UNIX socket path in bytes: sockaddr_un has room for
// 108 on Linux, the last of which is the terminating zero.
const maxPath = 107

// maxHost is the longest host name in bytes (RFC 1035, section 2.3.4, less the
// length octets).
const maxHost = 253

// Address is where a socket listens or is dialled: a TCP host and port, or the
// path of a UNIX stream socket. Addresses are made by ParseAddress, compare
// with ==, and the zero Address stands for none.
type Address struct {
	network string
	host    string // TCP: name, or IP as netip writes it, or "" for every interface
	port    uint16
	path    string // UNIX
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
	}
	return Address{network: networkUNIX, path: path}, nil
}

func parseHostPort(text string) (Address, error) {
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		return Address{}, fmt.Errorf("a URL (%q), not an address; write HOST:PORT alone", scheme+"://")
	}
	host, service, err := splitHostPort(text)
	if err != nil {
		return Address{}, err
	}
	if (host == "systemd" || host == "launchd") && strings.Trim(service, "0123456789") != "" {
		return Address{}, fmt.Errorf("sockets from %s are not supported by this version; write HOST:PORT or unix:PATH", host)
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

// Network is "tcp" or "unix", and "" for the zero Address.
func (a Address) Network() string { return a.network }

// Host is the host name, or the IP address in its shortest form and with its
// zone. It is "" for a UNIX socket and for an address without host (:PORT).
func (a Address) Host() string { return a.host }

// Port is the TCP port, or 0 for a UNIX socket.
func (a Address) Port() int { return int(a.port) }

// Path is the path of the UNIX socket, or "" for TCP.
func (a Address) Path() string { return a.path }

// IsZero tells whether a stands for no address.
func (a Address) IsZero() bool { return a == Address{} }

// IsLocal tells whether only this machine can be meant: localhost, a loopback
// IP address, or a UNIX socket. An address without host is not local, because a
// listener would bind it on every interface.
func (a Address) IsLocal() bool {
	if a.network == networkUNIX {
		return true
	}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(a.host, "localhost")
}

// String is the address as ParseAddress reads it, with the port as a number;
// "" for the zero Address.
func (a Address) String() string {
	switch a.network {
	case networkTCP:
		return a.hostPort()
	case networkUNIX:
		return "unix:" + a.path
	}
	return ""
}

// hostPort is how package net wants a TCP address.
func (a Address) hostPort() string {
	return net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

// MarshalText is String as bytes; it never fails.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAddress; on an error a is left as it was.
func (a *Address) UnmarshalText(text []byte) error {
	parsed, err := ParseAddress(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}
