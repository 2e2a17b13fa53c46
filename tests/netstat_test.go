package tests

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The gauge of long-lived connections.
const longterm = "netstat_tcp_longterm_connections_total"

// inNetwork has the rest of the test, and the processes it starts, run in a
// network of their own, where nobody else connects. What is within one process
// and takes another goroutine stays outside.
func inNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	if unix.Gettid() == os.Getpid() {
		t.Fatal("the main thread would not end, and /proc/net would be that network's from now on")
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		skip(t, "a network of one's own takes root: "+err.Error())
	}
	if out, err := exec.Command(need(t, "ip"), "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("ip link set lo up: %v\n%s", err, out)
	}
}

// ss counts the established connections by local port, as ss(8) sees them.
func ss(t *testing.T) map[string]int {
	t.Helper()
	out, err := exec.Command(need(t, "ss"), "-Htn", "state", "established").CombinedOutput()
	if err != nil {
		t.Fatalf("ss: %v\n%s", err, out)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(out)) {
		local, err := netip.ParseAddrPort(strings.Fields(line)[2])
		if err != nil {
			t.Fatalf("ss: %v in %s", err, line)
		}
		counts[fmt.Sprint(local.Port())]++
	}
	return counts
}

// total is the sum of what is counted.
func total(counts map[string]int) int {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// longtermOf asks a process for its gauge, by port.
func longtermOf(t *testing.T, p *process) map[string]int {
	t.Helper()
	_, text := p.status.get(t, "/metrics")
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, longterm)
		if !ok {
			continue
		}
		var value int
		label, number, _ := strings.Cut(rest, " ")
		if _, err := fmt.Sscan(number, &value); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		_, port, _ := strings.Cut(label, `port="`)
		port, _, _ = strings.Cut(port, `"`)
		counts[port] += value
	}
	return counts
}

// startNetstat starts an exporter on a UNIX socket: it is reached from every
// network, and is no TCP connection.
func startNetstat(t *testing.T, args ...string) *process {
	t.Helper()
	listen := "unix:" + filepath.Join(t.TempDir(), "s")
	p := start(t, append([]string{"netstat", "--listen", listen}, args...)...)
	p.status = newStatusPort(listen)
	return p
}

// TestNetstatAgreesWithSS about connections that are older than the duration:
// of IPv4 and IPv6, accepted or not, at both ends.
func TestNetstatAgreesWithSS(t *testing.T) {
	t.Parallel()
	inNetwork(t)
	const duration = 3 * time.Second
	exporter := startNetstat(t, "--duration", duration.String())
	needSandbox(t, exporter)
	simple := startNetstat(t, "--duration", duration.String(), "--simple", "--no-tcpv6")

	ports := map[string]int{} // connections that this test has to each
	listen := func(network, address string) net.Listener {
		t.Helper()
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() }) // some are closed earlier
		return ln
	}
	var conns []net.Conn // their two ends, one after the other
	connect := func(ln net.Listener, network, host string, n int) {
		t.Helper()
		_, port, err := net.SplitHostPort(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			client := dial(t, network, net.JoinHostPort(host, port))
			server, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			bound(t, server)
			conns = append(conns, client, server)
		}
		ports[port] += n
	}
	v4, v6, both := listen("tcp4", "127.0.0.1:0"), listen("tcp6", "[::1]:0"), listen("tcp", "[::]:0")
	connect(v4, "tcp4", "127.0.0.1", 50)
	connect(v6, "tcp6", "::1", 20)
	connect(both, "tcp4", "127.0.0.1", 7)
	connect(both, "tcp6", "::1", 3)
	queue := listen("tcp4", "127.0.0.1:0")
	for range 4 {
		dial(t, "tcp4", queue.Addr().String()) // nobody accepts
	}
	_, port, _ := net.SplitHostPort(queue.Addr().String())
	ports[port] = 4

	agrees := func(when string) {
		t.Helper()
		var of map[string]int
		eventually(t, "it agrees with ss "+when, func() bool {
			of = longtermOf(t, exporter)
			return total(of) == total(ss(t))
		})
		want := map[string]int{"ephemeral": 0}
		for port, n := range ss(t) {
			if _, ours := ports[port]; !ours {
				port = "ephemeral"
			}
			want[port] += n
		}
		if !maps.Equal(of, want) {
			t.Errorf("%s: %v, want %v", when, of, want)
		}
	}
	if got := total(longtermOf(t, exporter)); got != 0 {
		t.Errorf("%d connections are old at first", got)
	}
	agrees("when all are old")
	if got := total(ss(t)); got != 2*(50+20+7+3+4) {
		t.Errorf("ss sees %d connections", got)
	}
	// Of those of IPv4 to a listener for both, the listener's end is an IPv6 socket.
	eventually(t, "the simple one counts IPv4 sockets", func() bool { return total(longtermOf(t, simple)) == 2*(50+4)+7 })

	before, opened := longtermOf(t, exporter), time.Now()
	connect(v4, "tcp4", "127.0.0.1", 10)
	after := longtermOf(t, exporter)
	if young := time.Since(opened) < duration; young && !maps.Equal(before, after) {
		t.Errorf("%v, and %v beside connections that are young", before, after)
	}
	agrees("when the new ones are old too")
	for _, conn := range conns[:60] {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	agrees("when some have ended")
	if _, err := queue.Accept(); err != nil {
		t.Error(err)
	}
	if got := longtermOf(t, exporter)[port]; got != 4 {
		t.Errorf("%d in the queue, after one has left it for a program, want 4", got)
	}
	exporter.stop(t)
	simple.stop(t)
}

// TestNetstatServesItsPort and leaves it out.
func TestNetstatServesItsPort(t *testing.T) {
	t.Parallel()
	listen := reserve(t)
	exporter := startUnready(t, []string{"LISTEN=" + listen, "DURATION=1", "PORT=-1"}, "netstat", "--log-format", "json")
	exporter.waitLine(t, `"msg":"listening"`, listen)
	exporter.status = newStatusPort("http://" + listen)
	if of, own := longtermOf(t, exporter), port(t, listen); len(of) == 0 {
		t.Log("nobody listens on this host")
	} else if _, ok := of[own]; ok {
		t.Errorf("its own port is among %v", of)
	}
	if code, body := exporter.status.get(t, "/metrics"); code != 200 || !strings.Contains(body, "# TYPE "+longterm+" gauge\n") && strings.Contains(body, longterm) {
		t.Errorf("GET /metrics: %d\n%s", code, body)
	}
	if code, _ := exporter.status.get(t, "/other"); code != 404 {
		t.Errorf("GET /other: %d, want 404", code)
	}
	if code := exporter.status.post(t, "/metrics"); code != 405 {
		t.Errorf("POST /metrics: %d, want 405", code)
	}
	exporter.stop(t)
	exporter.waitLine(t, `"msg":"shutting down"`, `"cause":"SIGTERM"`)

	taken := serve(t, "tcp", echo)
	if code, _, stderr := run(t, "netstat", "--listen", taken.address); code != 1 || !strings.Contains(stderr, "sallyport: --listen "+taken.address+": ") {
		t.Errorf("a port that is taken: exit code %d, %s", code, stderr)
	}
}

// TestStatusPortTellsOfLongConnections with --netstat, in the sandbox.
func TestStatusPortTellsOfLongConnections(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--disable-authentication", "--netstat", "--connect-timeout", "1h")
	needSandbox(t, server)
	opened := time.Now()
	dial(t, "tcp", listen) // which does not shake hands
	sample := fmt.Sprintf(`%s{port=%q,version="tcp"}`, longterm, port(t, listen))
	if n := metricOf(t, server, sample); n != 0 && time.Since(opened) < 6*time.Second {
		t.Errorf("%v old connections at first", n)
	}
	eventually(t, "the connection is old", func() bool { return metricOf(t, server, sample) == 1 })
	if time.Since(opened) < 6*time.Second {
		t.Error("it is too early")
	}
	if n := metricOf(t, server, "netstat_scan_failures_total"); n != 0 {
		t.Errorf("the connections could not be listed %v times", n)
	}
	_, text := server.status.get(t, "/metrics")
	if own := fmt.Sprintf(`%s{port=%q`, longterm, port(t, strings.TrimPrefix(server.status.base, "http://"))); strings.Contains(text, own) {
		t.Error("the status port is among the ports")
	}
	server.stop(t)
}
