package tests

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/devpki"
)

// lone is a target that may be killed and come back at the same address.
type lone struct {
	*target

	t      *testing.T
	handle func(net.Conn)
}

// serveLone serves on a port of its own.
func serveLone(t *testing.T, handle func(net.Conn)) *lone {
	t.Helper()
	return &lone{target: serveOn(t, "tcp", reserve(t), handle), t: t, handle: handle}
}

// again has a target that was closed come back.
func (l *lone) again() { l.target = serveOn(l.t, "tcp", l.address, l.handle) }

// aim is --target for each of some targets.
func aim(targets ...*lone) []string {
	var flags []string
	for _, one := range targets {
		flags = append(flags, "--target", one.address)
	}
	return flags
}

// visitors make connections, one after the other on each of a few goroutines, until they are ended.
type visitors struct {
	once    func(context.Context) error
	done    atomic.Int64
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	failed []failedConnection
}

// failedConnection is one that came to nothing, and when it began.
type failedConnection struct {
	begun time.Time
	err   error
}

// startVisitors begins to make connections.
func startVisitors(t *testing.T, once func(context.Context) error) *visitors {
	t.Helper()
	l := &visitors{once: once}
	ctx, cancel := context.WithCancel(t.Context())
	l.stop = cancel
	for range 4 {
		l.running.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				if err := once(context.WithoutCancel(ctx)); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, failedConnection{begun, err})
					l.mu.Unlock()
				}
				l.done.Add(1)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// more waits for so many connections.
func (l *visitors) more(t *testing.T, n int64) {
	t.Helper()
	want := l.done.Load() + n
	eventually(t, fmt.Sprintf("%d more connections", n), func() bool { return l.done.Load() >= want })
}

// end waits for those that are on their way.
func (l *visitors) end() {
	l.stop()
	l.running.Wait()
}

// failures are the errors of connections that began after a moment.
func (l *visitors) failures(after time.Time) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.failed {
		if f.begun.After(after) {
			errs = append(errs, f.err)
		}
	}
	return errs
}

// sharesOf makes so many connections and tells how many each target got.
func sharesOf(t *testing.T, p *process, once func(context.Context) error, n int64, targets ...*lone) []int {
	t.Helper()
	before := samples(t, p, "sallyport_target_connections_total")
	var next atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for next.Add(1) <= n {
				if err := once(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var shares []int
	for name, now := range samples(t, p, "sallyport_target_connections_total") {
		shares = append(shares, int(now-before[name]))
	}
	if len(shares) != len(targets) {
		t.Fatalf("metrics of %d targets, want %d", len(shares), len(targets))
	}
	return shares
}

// targetMetric is a sample about one target of a tunnel.
func targetMetric(t *testing.T, p *process, name, target string) float64 {
	t.Helper()
	mode := p.cmd.Args[1]
	return metricOf(t, p, fmt.Sprintf("sallyport_target_%s{target=%q,tunnel=%q}", name, target, mode))
}

// TestOneOfThreeTargetsMayGo under load, and come back: no connection that began after it was gone fails, with health checks or
// without, and afterwards each has a third again.
func TestOneOfThreeTargetsMayGo(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"server", "client"} {
		for _, health := range []bool{false, true} {
			if !full() && health != (mode == "client") {
				continue // make test-full runs all four, and more connections
			}
			t.Run(fmt.Sprintf("%s checked %t", mode, health), func(t *testing.T) {
				t.Parallel()
				pki, listen := newPKI(t), reserve(t)
				handle := echo
				if mode == "client" {
					handle = overTLS(pki.targetConfig(pki.server(t)), echo)
				}
				targets := []*lone{serveLone(t, handle), serveLone(t, handle), serveLone(t, handle)}
				args := aim(targets[1:]...)
				if health {
					args = append(args, "--health-interval", "200ms")
				}
				var p *process
				var once func(context.Context) error
				if mode == "server" {
					p = startServer(t, pki, listen, targets[0].address, append(args, "--allow-cn", "client")...)
					config := pki.clientConfig(pki.client(t))
					once = func(ctx context.Context) error {
						return overAndBack((&tls.Dialer{Config: config}).DialContext(ctx, "tcp", listen))
					}
				} else {
					p = startClient(t, pki, listen, targets[0].address, args...)
					once = func(ctx context.Context) error { return overAndBack(new(net.Dialer).DialContext(ctx, "tcp", listen)) }
				}
				tunnel := startVisitors(t, once)
				tunnel.more(t, 50)
				targets[1].close()
				gone := time.Now()
				if health {
					p.waitLine(t, `msg="target down"`, "target="+targets[1].address)
				} else {
					p.waitLine(t, `msg="target ejected"`, "target="+targets[1].address, "reason=connection_refused")
				}
				tunnel.more(t, 100)
				if up := targetMetric(t, p, "up", targets[1].address); up != 0 {
					t.Errorf("sallyport_target_up is %v for one that is gone", up)
				}
				if code, report := p.status.report(t); code != http.StatusOK || report.BackendStatus != "ok" {
					t.Errorf("with one of three gone: %d %+v, want 200: the others serve", code, report)
				}
				targets[1].again()
				// It may have been ejected for half a minute by now, on a machine that is busy.
				for deadline := time.Now().Add(2 * patience); targets[1].connections() == 0 && time.Now().Before(deadline); {
					tunnel.more(t, 10)
				}
				eventually(t, "the target is up again", func() bool { return targets[1].connections() > 3 })
				eventually(t, "its metric says so", func() bool { return targetMetric(t, p, "up", targets[1].address) == 1 })
				tunnel.end()
				if errs := tunnel.failures(gone); len(errs) > 0 {
					t.Errorf("%d of %d connections failed, the first with: %v", len(errs), tunnel.done.Load(), errs[0])
				}
				n := 300
				if full() {
					n = 1000
				}
				shares := sharesOf(t, p, once, int64(n), targets...)
				for _, share := range shares {
					if third := float64(n) / 3; math.Abs(float64(share)-third) > third/10 {
						t.Errorf("of %d connections the targets got %v, want a third each, give or take a tenth", n, shares)
					}
				}
				p.stop(t)
			})
		}
	}
}

// overAndBack sends a few bytes over a connection that was made, if it was, and closes it.
func overAndBack(conn net.Conn, err error) error {
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return roundTrip(conn)
}

// TestNoTargetUpIsARefusal in the log, the metrics and the status, whichever way it was found out.
func TestNoTargetUpIsARefusal(t *testing.T) {
	t.Parallel()
	for _, health := range []string{"0", "200ms"} {
		t.Run("health checks every "+health, func(t *testing.T) {
			t.Parallel()
			pki, listen, one, other := newPKI(t), reserve(t), reserve(t), reserve(t)
			p := startServer(t, pki, listen, one, "--target", other, "--allow-all", "--health-interval", health)
			if health != "0" {
				p.waitLines(t, 2, `msg="target down"`)
			}
			if attempt(t, listen, pki.clientConfig(pki.client(t))) == nil {
				t.Fatal("a connection was made to nobody")
			}
			line := p.waitLine(t, `msg="error on dial"`, "stage=dial", "reason=no_target_up", "no target is up: ", "target "+one+": ", "target "+other+": ")
			if strings.Contains(line, " target=") {
				t.Errorf("the line names a target that was connected to: %s", line)
			}
			want := map[string]float64{
				`sallyport_failures_total{reason="no_target_up",stage="dial",tunnel="server"}`:                             1,
				`sallyport_dial_failures_total{reason="no_target_up",target="` + one + `, ` + other + `",tunnel="server"}`: 1,
				`sallyport_closed_total{reason="no_target_up",tunnel="server"}`:                                            1,
			}
			if health == "0" {
				want[`sallyport_target_failures_total{reason="connection_refused",target="`+one+`",tunnel="server"}`] = 1
				want[`sallyport_target_ejections_total{target="`+one+`",tunnel="server"}`] = 1
			}
			for sample, n := range want {
				if got := metricOf(t, p, sample); got != n {
					t.Errorf("%s is %v, want %v", sample, got, n)
				}
			}
			code, report := p.status.report(t)
			if code != http.StatusServiceUnavailable || report.BackendStatus != "critical" || !strings.HasPrefix(report.BackendError, "no target is up: target "+one+": ") {
				t.Errorf("%d %+v", code, report)
			}
			p.stop(t)
		})
	}
}

// targetsReport is what /_status says of the targets of a tunnel.
type targetsReport struct {
	ForwardAddress string `json:"forward_address"`
	Targets        []struct {
		Target        string
		Weight        int
		BackendOK     bool   `json:"backend_ok"`
		BackendStatus string `json:"backend_status"`
		BackendError  string `json:"backend_error"`
		Ejected       bool
		Connections   struct{ Open, Total int }
	}
}

// TestStatusAndLogSayWhichTargetWasChosen, and /_connections does.
func TestStatusAndLogSayWhichTargetWasChosen(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	heavy, light := serveLone(t, echo), serveLone(t, echo)
	p := startServer(t, pki, listen, heavy.address+";weight=3", "--target", light.address, "--allow-all")
	p.waitLine(t, "msg=listening", `target="`+heavy.address+", "+light.address+`"`, "balance=round-robin")
	var open []net.Conn
	for range 8 {
		conn := connect(t, listen, pki.clientConfig(pki.client(t)))
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	chosen := map[string]int{}
	for _, c := range p.status.connections(t, "").Connections {
		chosen[c.Target]++
	}
	if chosen[heavy.address] != 6 || chosen[light.address] != 2 {
		t.Errorf("/_connections has %v, want 6 and 2", chosen)
	}
	for address, n := range map[string]int{heavy.address: 6, light.address: 2} {
		p.waitLines(t, n, `msg="opening pipe"`, "target="+address)
	}
	light.close()
	eventually(t, "what was shared of the check is old", func() bool {
		var report targetsReport
		code := p.status.getJSON(t, "/_status", &report)
		if code != http.StatusOK || len(report.Targets) != 2 || report.ForwardAddress != heavy.address+", "+light.address {
			t.Fatalf("%d %+v", code, report)
		}
		a, b := report.Targets[0], report.Targets[1]
		if a.Target != heavy.address || a.Weight != 3 || !a.BackendOK || a.BackendStatus != "ok" || a.Connections.Open != 6 || a.Connections.Total != 6 {
			t.Fatalf("%+v", a)
		}
		return b.Target == light.address && !b.BackendOK && b.BackendStatus == "critical" && strings.Contains(b.BackendError, "refused")
	})
	for _, conn := range open {
		_ = conn.Close()
	}
	p.stop(t)
}

// TestClientModeVerifiesEachTargetUnderItsOwnName: one whose certificate is for another name is passed over.
func TestClientModeVerifiesEachTargetUnderItsOwnName(t *testing.T) { //nolint:tparallel // they listen at one address, by turns
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	shows := func(request devpki.Request) func(net.Conn) {
		name := fmt.Sprint(request.DNSNames, request.IPs)
		request.CommonName = name
		return overTLS(pki.targetConfig(pki.issue(t, strconv.Itoa(len(name)), request)), echo)
	}
	named := serveLone(t, shows(devpki.Request{DNSNames: []string{"localhost"}}))
	numbered := serveLone(t, shows(devpki.Request{IPs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}))
	atLocalhost := "localhost:" + port(t, named.address)
	once := func(ctx context.Context) error { return overAndBack(new(net.Dialer).DialContext(ctx, "tcp", listen)) }

	t.Run("each has its own", func(t *testing.T) {
		p := startClient(t, pki, listen, atLocalhost, "--target", numbered.address)
		if shares := sharesOf(t, p, once, 10, named, numbered); !slices.Equal(shares, []int{5, 5}) {
			t.Errorf("shares %v, want 5 each", shares)
		}
		p.stop(t)
	})
	t.Run("one has another's", func(t *testing.T) {
		p := startClient(t, pki, listen, named.address, "--target", numbered.address, "--health-interval", "200ms")
		p.waitLine(t, `msg="target down"`, "target="+named.address, "127.0.0.1")
		for range 4 {
			if err := once(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := targetMetric(t, p, "connections_total", named.address); n != 0 {
			t.Errorf("%v connections went to a target with another's certificate", n)
		}
		p.stop(t)
	})
	t.Run("a name for all", func(t *testing.T) {
		p := startClient(t, pki, listen, named.address, "--target", numbered.address, "--override-server-name", "localhost")
		for range 4 {
			if err := once(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := targetMetric(t, p, "connections_total", numbered.address); n != 0 {
			t.Errorf("%v connections went to a target whose certificate is not for the name", n)
		}
		if n := metricOf(t, p, `sallyport_target_failures_total{reason="name_mismatch",target="`+numbered.address+`",tunnel="client"}`); n == 0 {
			t.Error("nobody counted why")
		}
		p.stop(t)
	})
}

// TestSourceGoesByTheClient, which behind a load balancer is where its PROXY header says.
func TestSourceGoesByTheClient(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	handle := overTLS(pki.targetConfig(pki.server(t)), echo)
	targets := []*lone{serveLone(t, handle), serveLone(t, handle), serveLone(t, handle)}
	p := startClient(t, pki, listen, targets[0].address, append(aim(targets[1:]...), "--balance", "source", "--proxy-protocol-in", "127.0.0.1")...)
	chosen := map[string]string{}
	for range 2 {
		for i := range 20 {
			client := fmt.Sprintf("10.0.0.%d", i)
			conn := dial(t, "tcp", listen)
			if _, err := fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.1 %d 443\r\n", client, 1000+len(chosen)); err != nil {
				t.Fatal(err)
			}
			if err := roundTrip(conn); err != nil {
				t.Fatal(err)
			}
			open := p.status.connections(t, "remote="+client).Connections
			if len(open) != 1 {
				t.Fatalf("%d connections of %s", len(open), client)
			}
			if before, known := chosen[client]; known && before != open[0].Target {
				t.Errorf("%s went to %s, and then to %s", client, before, open[0].Target)
			}
			chosen[client] = open[0].Target
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is closed", func() bool { return len(p.status.connections(t, "remote="+client).Connections) == 0 })
		}
	}
	spread := map[string]bool{}
	for _, target := range chosen {
		spread[target] = true
	}
	if len(spread) != 3 {
		t.Errorf("20 clients went to %d of 3 targets", len(spread))
	}
	p.stop(t)
}

// TestPROXYHeadersReachWhicheverTarget, and its health checks say that they are for nobody.
func TestPROXYHeadersReachWhicheverTarget(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	headers := make(chan byte, 100)
	handle := func(conn net.Conn) {
		start := make([]byte, 16) // of version 2, without the addresses
		if _, err := io.ReadFull(conn, start); err != nil {
			return
		}
		headers <- start[12]
		if _, err := io.CopyN(io.Discard, conn, int64(start[14])<<8+int64(start[15])); err == nil {
			echo(conn)
		}
	}
	targets := []*lone{serveLone(t, handle), serveLone(t, handle)}
	p := startServer(t, pki, listen, targets[0].address, append(aim(targets[1]), "--allow-all", "--proxy-protocol", "--health-interval", "200ms")...)
	for range 4 {
		if err := attempt(t, listen, pki.clientConfig(pki.client(t))); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[byte]int{}
	for len(seen) < 2 {
		seen[receive(t, "a header of each kind", headers)]++
	}
	if seen[0x20] == 0 || seen[0x21] == 0 {
		t.Errorf("commands %v, want LOCAL and PROXY", seen)
	}
	p.stop(t)
}

// TestTargetsBehindAProxy are balanced, and one that the proxy cannot reach is passed over.
func TestTargetsBehindAProxy(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	handle := overTLS(pki.targetConfig(pki.server(t)), echo)
	one, gone := serveLone(t, handle), reserve(t)
	p := startClient(t, pki, listen, one.address, "--target", gone, "--proxy", "http://"+startTinyproxy(t, ""))
	for range 4 {
		if err := overAndBack(new(net.Dialer).DialContext(t.Context(), "tcp", listen)); err != nil {
			t.Error(err)
		}
	}
	p.waitLine(t, `msg="target ejected"`, "target="+gone, "reason=proxy_")
	if n := targetMetric(t, p, "connections_total", one.address); n != 4 {
		t.Errorf("%v connections were made to the one that is there, want 4", n)
	}
	p.stop(t)
}

// TestPostgresMayBeOneOfSeveral: before the protocol begins, one that is gone is passed over.
func TestPostgresMayBeOneOfSeveral(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	address, _ := startPostgres(t, pki)
	gone := reserve(t)
	client := startClient(t, pki, listen, gone, "--target", address, "--starttls", "postgres")
	for range 3 {
		if got, err := psql(t, listen, "secure", "select 6 * 7", "sslmode=disable"); err != nil || strings.TrimSpace(got) != "42" {
			t.Errorf("psql: %q, %v", got, err)
		}
	}
	if n := targetMetric(t, client, "connections_total", address); n != 3 {
		t.Errorf("%v connections, want 3", n)
	}
	client.stop(t)
}

// TestRoutesMayShareTargets: each spreads its own connections, and the metrics tell of a target once.
func TestRoutesMayShareTargets(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	id, one, other := pki.server(t), serveLone(t, echo), serveLone(t, echo)
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	writeFile(t, file, fmt.Appendf(nil, `
tunnels:
- name: web
  mode: server
  listen: %s
  target: [%s, '%s;weight=2']
  cert: %s
  key: %s
  cacert: %s
  allow-all: true
  routes:
  - {name: spare, server-name: spare.test, balance: first}
  - {name: alone, server-name: alone.test, target: '%s'}
`, listen, one.address, other.address, id.cert, id.key, pki.root, one.address))
	p := startUnready(t, nil, "run", "--config", file, "--status", "http://"+reserve(t))
	p.waitReady(t)
	ask := func(name string, n int) {
		t.Helper()
		config := pki.clientConfig(pki.client(t))
		config.ServerName, config.InsecureSkipVerify = name, true // the certificate is for localhost
		for range n {
			if err := attempt(t, listen, config); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask("localhost", 6)  // two, and four
	ask("spare.test", 3) // all for the first
	ask("alone.test", 5) // by a route that has no choice
	for address, want := range map[string]float64{one.address: 2 + 3, other.address: 4} {
		if n := metricOf(t, p, fmt.Sprintf("sallyport_target_connections_total{target=%q,tunnel=\"web\"}", address)); n != want {
			t.Errorf("%s: %v connections, want %v", address, n, want)
		}
	}
	var report struct {
		Tunnels []struct {
			Targets []struct {
				Route, Target string
				Connections   struct{ Total int }
			}
		}
	}
	if code := p.status.getJSON(t, "/_status", &report); code != http.StatusOK {
		t.Errorf("/_status: %d", code)
	}
	told := map[string]int{}
	for _, target := range report.Tunnels[0].Targets {
		told[target.Route+" "+target.Target] = target.Connections.Total
	}
	want := map[string]int{"default " + one.address: 2, "default " + other.address: 4, "spare " + one.address: 3, "spare " + other.address: 0}
	if !maps.Equal(told, want) {
		t.Errorf("/_status has %v, want %v", told, want)
	}
	p.stop(t)
}

// TestRequestsGoToWhicheverTargetIsUp, and are answered with 502 while none is.
func TestRequestsGoToWhicheverTargetIsUp(t *testing.T) {
	t.Parallel()
	pki, listen := newPKI(t), reserve(t)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(service.Close)
	p := startServer(t, pki, listen, reserve(t), "--target", service.Listener.Addr().String(), "--allow-all", "--protocol", "http")
	transport := &http.Transport{TLSClientConfig: pki.clientConfig(pki.client(t)), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	get := func() (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listen+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	for range 4 {
		if code, body := get(); code != http.StatusOK || body != "hello" {
			t.Errorf("%d %q", code, body)
		}
	}
	if n := targetMetric(t, p, "connections_open", service.Listener.Addr().String()); n < 1 {
		t.Errorf("%v connections are open to the target that serves", n)
	}
	service.Close()
	eventually(t, "an answer that nobody is there", func() bool { code, _ := get(); return code == http.StatusBadGateway })
	p.waitLine(t, "reason=no_target_up")
	eventually(t, "connections that are closed count no more", func() bool {
		return targetMetric(t, p, "connections_open", service.Listener.Addr().String()) == 0
	})
	transport.CloseIdleConnections()
	p.stop(t)
}
