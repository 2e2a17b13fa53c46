package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Announcement is what a target is told of each client, by a PROXY header of
// version 2. "" is that it gets no header.
type Announcement string

// The announcements, each telling more than the one before.
const (
	AnnounceConn    Announcement = "conn"     // from where and to where the client connected
	AnnounceTLS     Announcement = "tls"      // its TLS session
	AnnounceTLSFull Announcement = "tls-full" // its certificate
)

func parseAnnouncement(text string) (Announcement, error) {
	switch a := Announcement(text); a {
	case AnnounceConn, AnnounceTLS, AnnounceTLSFull:
		return a, nil
	}
	return "", errors.New("unknown mode; use conn, tls or tls-full")
}

// HeaderPeers are those whose connections begin with a PROXY header. The zero
// value is nobody.
type HeaderPeers struct {
	Networks []netip.Prefix
	UNIX     bool // whoever connects over a UNIX socket
}

// IsZero tells whether p is nobody.
func (p HeaderPeers) IsZero() bool { return len(p.Networks) == 0 && !p.UNIX }

// Contain tells whether p holds a peer, by the address of its socket.
func (p HeaderPeers) Contain(peer net.Addr) bool {
	switch peer := peer.(type) {
	case *net.TCPAddr:
		ip := peer.AddrPort().Addr().Unmap().WithZone("")
		return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(ip) })
	case *net.UnixAddr:
		return p.UNIX
	}
	return false
}

// Strings lists p as an operator writes it.
func (p HeaderPeers) Strings() []string {
	var list []string
	for _, n := range p.Networks {
		list = append(list, n.String())
	}
	if p.UNIX {
		list = append(list, unixPeers)
	}
	return list
}

// unixPeers is the value that stands for all peers over UNIX sockets, which
// have no address.
const unixPeers = "unix"

func setHeaderPeer(d *draft, text string) error {
	peers := &d.tunnel.HeaderPeers
	if text == unixPeers {
		peers.UNIX = true
		return nil
	}
	network, err := parseNetwork(text)
	if err != nil {
		return err
	}
	peers.Networks = append(peers.Networks, network)
	return nil
}

// parseNetwork reads an address or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	if ip, err := parseIP(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, errors.New("not a network; write it like 192.0.2.0/24, 2001:db8::/32, 192.0.2.1, or unix")
	}
	// Addresses are compared as IPv4 where they are IPv4.
	const mapped = 96
	if network.Addr().Is4In6() && network.Bits() >= mapped {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mapped)
	}
	if masked := network.Masked(); masked != network {
		return netip.Prefix{}, fmt.Errorf("an address within a network; write %s for all of it, or %s", masked, network.Addr())
	}
	return network, nil
}

// checkProxyProtocol settles what goes with PROXY headers.
func (d *draft) checkProxyProtocol() error {
	t := &d.tunnel
	if d.proxyProtocol {
		if t.Announce != "" {
			return fmt.Errorf("%s and %s: the first is the second with conn; give one or the other", d.name("proxy-protocol"), d.name("proxy-protocol-mode"))
		}
		t.Announce = AnnounceConn
	}
	peers := t.HeaderPeers
	switch {
	case peers.IsZero():
	case t.Listen.Network() == "unix" && !peers.UNIX:
		return fmt.Errorf("%s: peers over %s have no address; write --proxy-protocol-in unix", d.name("proxy-protocol-in"), t.Listen)
	case t.Listen.Network() == "tcp" && len(peers.Networks) == 0:
		return fmt.Errorf("%s unix: nobody connects to %s over a UNIX socket; write a network or an address", d.name("proxy-protocol-in"), t.Listen)
	}
	return nil
}
