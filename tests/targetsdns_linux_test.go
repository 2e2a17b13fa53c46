package tests

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A nameServer is a dnsmasq that is asked about one zone, test.
type nameServer struct {
	*process

	hosts string // file with its names
	conf  string // a resolv.conf that has it asked
}

// startDnsmasq starts a dnsmasq that knows no name yet. It has an address of this machine for itself, since resolv.conf knows
// no other port than 53.
func startDnsmasq(t *testing.T) *nameServer {
	t.Helper()
	need(t, "dnsmasq")
	if os.Geteuid() != 0 {
		skip(t, "only root may listen on port 53")
	}
	pid := os.Getpid()
	at := netip.AddrFrom4([4]byte{127, 53, byte(pid >> 8), byte(pid)}).String()
	s := &nameServer{hosts: filepath.Join(t.TempDir(), "hosts"), conf: filepath.Join(t.TempDir(), "resolv.conf")}
	writeFile(t, s.hosts, nil)
	writeFile(t, s.conf, []byte("nameserver "+at+"\n"))
	s.process = startPeer(t, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root", "--log-facility=-",
		"--listen-address="+at, "--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/test/", "--addn-hosts="+s.hosts)
	accepting(t, "tcp", at+":53")
	return s
}

// says has a name have these addresses from now on; none is NXDOMAIN.
func (s *nameServer) says(t *testing.T, name string, addresses ...netip.Addr) {
	t.Helper()
	var text strings.Builder
	for _, address := range addresses {
		fmt.Fprintf(&text, "%s %s\n", address, name)
	}
	writeFile(t, s.hosts, []byte(text.String()))
	s.signal(t, syscall.SIGHUP)
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server, _ := strings.CutPrefix(readText(t, s.conf), "nameserver ")
		return new(net.Dialer).DialContext(ctx, network, strings.TrimSpace(server)+":53")
	}}
	eventually(t, "the name server says so", func() bool {
		got, err := resolver.LookupNetIP(t.Context(), "ip4", name+".")
		if len(addresses) == 0 {
			return err != nil
		}
		for i := range got {
			got[i] = got[i].Unmap()
		}
		slices.SortFunc(got, netip.Addr.Compare)
		return slices.Equal(got, addresses)
	})
}

// startResolving starts sallyport with a resolv.conf of the test's.
func startResolving(t *testing.T, conf string, args ...string) *process {
	t.Helper()
	program := need(t, "unshare")
	flags := []string{"--mount", "--propagation", "private"}
	if out, err := exec.Command(program, append(flags, "true")...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no mount namespaces here: %v: %s", err, out))
	}
	script := []string{"sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf, sallyport(t)}
	return launchSallyport(t, nil, exec.Command(program, slices.Concat(flags, script, args)...))
}

// TestNamesAreFollowedInDNS: connections go to all addresses of a name, to others once it has others, within the interval, and
// on to the last ones while there are none.
func TestNamesAreFollowedInDNS(t *testing.T) {
	t.Parallel()
	dns := startDnsmasq(t)
	const interval = time.Second
	var addresses []netip.Addr
	targets := map[netip.Addr]*target{}
	var at string
	for i := range 3 { // one port, on addresses that nobody else uses
		address := netip.AddrFrom4([4]byte{127, 54, byte(os.Getpid()), byte(i + 1)})
		if i == 0 {
			at = port(t, reserveOn(t, address))
		}
		addresses = append(addresses, address)
		targets[address] = serveOn(t, "tcp", net.JoinHostPort(address.String(), at), echo)
	}
	dns.says(t, "db.test", addresses[:2]...)

	pki, listen := newPKI(t), reserve(t)
	p := startResolving(t, dns.conf, append(pki.server(t).flags(), "server", "--listen", listen, "--target", "db.test:"+at, "--unsafe-target",
		"--resolve-interval", interval.String(), "--cacert", pki.root, "--allow-all", "--status", "http://"+reserve(t))...)
	p.waitReady(t)
	needSandbox(t, p)
	config := pki.clientConfig(pki.client(t))
	ask := func(n int) []int64 {
		t.Helper()
		before := make([]int64, len(addresses))
		for i, address := range addresses {
			before[i] = targets[address].connections()
		}
		for range n {
			if err := attempt(t, listen, config); err != nil {
				t.Fatal(err)
			}
		}
		for i, address := range addresses {
			before[i] = targets[address].connections() - before[i]
		}
		return before
	}
	if got := ask(10); !slices.Equal(got, []int64{5, 5, 0}) {
		t.Errorf("at first the addresses got %v, want 5 each of the first two", got)
	}

	dns.says(t, "db.test", addresses[2])
	changed := time.Now()
	p.waitLine(t, `msg="target has a new address"`, "target=db.test:"+at, "address="+addresses[2].String())
	if took := time.Since(changed); took > 10*interval {
		t.Errorf("it took %v to notice, with lookups every %v", took, interval)
	}
	if got := ask(10); !slices.Equal(got, []int64{0, 0, 10}) {
		t.Errorf("after a change the addresses got %v, want all for the third", got)
	}

	dns.says(t, "db.test")
	p.waitLine(t, `msg="target's name does not resolve; its last addresses stay in use"`, "target=db.test:"+at, "no such host", "addresses=1")
	if got := ask(10); !slices.Equal(got, []int64{0, 0, 10}) {
		t.Errorf("while the name does not resolve the addresses got %v, want all for the third still", got)
	}
	if n := metricOf(t, p, `sallyport_target_up{target="db.test:`+at+"/"+addresses[2].String()+`",tunnel="server"}`); n != 1 {
		t.Errorf("sallyport_target_up is %v", n)
	}

	dns.says(t, "db.test", addresses[0])
	p.waitLine(t, `msg="target's name resolves again"`)
	if got := ask(4); !slices.Equal(got, []int64{4, 0, 0}) {
		t.Errorf("once it does again the addresses got %v, want all for the first", got)
	}
	p.stop(t)
}
