package config

import (
	"net"
	"net/netip"
	"testing"
)

func TestHeaderPeersContain(t *testing.T) {
	t.Parallel()
	peers := HeaderPeers{UNIX: true}
	for _, text := range []string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "fe80::/10"} {
		network, err := parseNetwork(text)
		if err != nil {
			t.Fatal(err)
		}
		peers.Networks = append(peers.Networks, network)
	}
	tcp := func(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }
	tests := []struct {
		peer net.Addr
		want bool
	}{
		{tcp("10.255.0.1:1"), true},
		{tcp("[::ffff:10.255.0.1]:1"), true}, // how a listener for both families tells of it
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, true},
		{tcp("11.0.0.1:1"), false},
		{tcp("192.0.2.1:1"), true},
		{tcp("192.0.2.2:1"), false},
		{tcp("[2001:db8:ffff::1]:1"), true},
		{tcp("[2001:db9::1]:1"), false},
		{tcp("[fe80::1%eth0]:1"), true},
		{tcp("[::1]:1"), false},
		{&net.UnixAddr{Net: "unix"}, true},
		{&net.TCPAddr{}, false},
		{&net.IPAddr{IP: net.IPv4(10, 0, 0, 1)}, false},
		{nil, false},
	}
	for _, tt := range tests {
		if got := peers.Contain(tt.peer); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.peer, got, tt.want)
		}
	}
	if (HeaderPeers{Networks: peers.Networks}).Contain(&net.UnixAddr{Net: "unix"}) {
		t.Error("peers over UNIX sockets belong to networks")
	}
	if !(HeaderPeers{}).IsZero() || peers.IsZero() {
		t.Error("IsZero is wrong")
	}
}

// What is read is written so that it can be read again, and holds its own
// address.
func FuzzParseNetwork(f *testing.F) {
	for _, text := range []string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::/0", "::ffff:10.0.0.0/104", "fe80::1%eth0", "10.1.2.3/8", "1/1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		network, err := parseNetwork(text)
		if err != nil {
			return
		}
		again, err := parseNetwork(network.String())
		if err != nil || again != network {
			t.Fatalf("%q is %v, which is %v, error %v", text, network, again, err)
		}
		if peer := net.TCPAddrFromAddrPort(netip.AddrPortFrom(network.Addr(), 1)); !(HeaderPeers{Networks: []netip.Prefix{network}}).Contain(peer) {
			t.Fatalf("%v does not contain %v", network, peer)
		}
	})
}
