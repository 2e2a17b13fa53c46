package netstat

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/prometheus/procfs"
)

// Where the kernel tells about the process and its network namespace.
const (
	itself       = "/proc/self"
	portsSetting = "/proc/sys/net/ipv4/ip_local_port_range"
)

// system returns what reads the kernel's lists, and the range that it takes
// ports from.
func system() (read func(tcp6 bool) ([]entry, error), chosen portRange, err error) {
	proc, err := procfs.NewFS(itself)
	if err != nil {
		return nil, portRange{}, fmt.Errorf("no list of connections: %w", err)
	}
	return func(tcp6 bool) ([]entry, error) { return lists(proc, tcp6) }, chosenPorts(), nil
}

// lists reads the list of IPv4 sockets, and that of IPv6 sockets if there is one.
func lists(proc procfs.FS, tcp6 bool) ([]entry, error) {
	// The netlink interface that procfs recommends instead takes a socket of a
	// kind that sandboxes of containers often deny.
	v4, err := proc.NetTCP() //nolint:staticcheck // see above
	if err != nil {
		return nil, err
	}
	var v6 procfs.NetTCP
	if tcp6 {
		v6, err = proc.NetTCP6() //nolint:staticcheck // see above
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	entries := make([]entry, 0, len(v4)+len(v6))
	return appendEntries(appendEntries(entries, v4, false), v6, true), nil
}

func appendEntries(entries []entry, lines procfs.NetTCP, tcp6 bool) []entry {
	for _, l := range lines {
		s := state(l.St) //nolint:gosec // the kernel has a dozen states
		if s != established && s != listens {
			continue
		}
		entries = append(entries, entry{
			connection: connection{
				local:  addrPort(l.LocalAddr, l.LocalPort),
				remote: addrPort(l.RemAddr, l.RemPort),
				inode:  l.Inode,
				tcp6:   tcp6,
			},
			state: s,
		})
	}
	return entries
}

func addrPort(ip net.IP, port uint64) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)            // it is 4 or 16 bytes long
	return netip.AddrPortFrom(addr, uint16(port)) //nolint:gosec // the kernel writes four digits
}

// chosenPorts asks the kernel for the range of ports that it chooses from for
// both IPv4 and IPv6. Where it does not tell, the range is the usual one.
func chosenPorts() portRange {
	r := portRange{32768, 60999}
	text, err := os.ReadFile(portsSetting)
	if err != nil {
		return r
	}
	var first, last uint16
	if n, _ := fmt.Sscan(string(text), &first, &last); n == 2 {
		r = portRange{first, last}
	}
	return r
}
