package netstat

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/procfs"
)

// TestTheKernelListsConnections as they are: those of this test are among them.
func TestTheKernelListsConnections(t *testing.T) {
	t.Parallel()
	read, _, err := system()
	if err != nil {
		t.Fatal(err)
	}
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := net.Dial(network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		at := netip.MustParseAddrPort(ln.Addr().String())
		for _, tcp6 := range []bool{true, false} {
			entries, err := read(tcp6)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, e := range entries {
				if e.local == at || e.remote == at {
					n++
				}
				if e.state == established && e.local == at && e.inode != 0 {
					t.Errorf("%s: a connection that nobody has accepted has inode %d", network, e.inode)
				}
			}
			want := 3 // the listener, and both ends of the connection
			if network == "tcp6" && !tcp6 {
				want = 0
			}
			if n != want {
				t.Errorf("%s, with IPv6 %t: %d sockets, want %d", network, tcp6, n, want)
			}
		}
	}
}

// table writes the list of IPv4 sockets as the kernel would, and returns what
// reads it.
func table(tb testing.TB, lines ...string) procfs.FS {
	tb.Helper()
	return tables(tb, map[string][]string{"tcp": lines})
}

// tables is table for several lists, by the names of their files.
func tables(tb testing.TB, all map[string][]string) procfs.FS {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "net"), 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, lines := range all {
		var text bytes.Buffer
		fmt.Fprintln(&text, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode")
		for i, line := range lines {
			fmt.Fprintf(&text, "%4d: %s 1 00000000e5d45c9a 100 0 0 10 0\n", i, line)
		}
		if err := os.WriteFile(filepath.Join(dir, "net", name), text.Bytes(), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	proc, err := procfs.NewFS(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return proc
}

// TestListsAreRead where there is no IPv6, too.
func TestListsAreRead(t *testing.T) {
	t.Parallel()
	proc := table(t,
		"0100007F:01BB 0200000A:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 624",
		"00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 623",
		"0100007F:01BB 0200000A:9C41 06 00000000:00000000 03:0000062A 00000000     0        0 0",
	)
	got, err := lists(proc, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{conn("127.0.0.1:443 10.0.0.2:40000", 624), listening("0.0.0.0:2024")}
	want[1].inode, want[1].remote = 623, netip.MustParseAddrPort("0.0.0.0:0")
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := lists(table(t, "nonsense"), false); err == nil {
		t.Error("nonsense is no error")
	}
	// A list of IPv6 that is there and cannot be read is not the same as none.
	if got, err := lists(tables(t, map[string][]string{"tcp": nil, "tcp6": {"nonsense"}}), true); err == nil {
		t.Errorf("nonsense of IPv6 is no error, but %v", got)
	}
}

func TestPortsAreChosenFromARange(t *testing.T) {
	t.Parallel()
	if r := chosenPorts(); r.first < 1024 || r.last <= r.first {
		t.Errorf("%+v", r)
	}
}

// BenchmarkLook is one look at the lists of this host, with 8,000 connections more
// than it has anyway.
func BenchmarkLook(b *testing.B) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	for range 4000 {
		for _, open := range []func() (net.Conn, error){func() (net.Conn, error) { return net.Dial("tcp4", ln.Addr().String()) }, ln.Accept} {
			conn, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
		}
	}
	w, err := New(Options{TCP6: true})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		w.look()
	}
	if len(w.known) < 8000 {
		b.Errorf("%d connections", len(w.known))
	}
}

// BenchmarkScan is the same without the kernel, with 20,000 connections.
func BenchmarkScan(b *testing.B) {
	const connections = 20_000
	var lines []string
	for i := range connections {
		lines = append(lines, fmt.Sprintf("0100007F:01BB 0200000A:%04X 01 00000000:00000000 00:00000000 00000000  1000        0 %d", 10_000+i, 1000+i))
	}
	proc := table(b, lines...)
	w := newWatch(Options{TCP6: true}, func(tcp6 bool) ([]entry, error) { return lists(proc, tcp6) }, usual)
	for b.Loop() {
		w.look()
	}
	if len(w.known) != connections {
		b.Errorf("%d connections", len(w.known))
	}
}

func TestWatchIsForThisSystem(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err != nil {
		t.Error(err)
	}
}
