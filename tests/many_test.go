package tests

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A many is a process with tunnels from a file.
type many struct {
	*process

	pki    *pki
	config string // the file
	top    string // what stands at the top of it
}

// newMany prepares a file with an identity for all of its tunnels.
func newMany(t *testing.T, keys ...string) *many {
	t.Helper()
	p := newPKI(t)
	id := p.server(t)
	m := &many{pki: p, config: filepath.Join(p.dir, "sallyport.yaml")}
	m.top = strings.Join(append([]string{
		"watch-files: false", "enable-shutdown: true",
		"defaults:", "  cert: " + id.cert, "  key: " + id.key, "  cacert: " + p.root, "  allow-cn: client",
	}, keys...), "\n") + "\ntunnels:\n"
	return m
}

// one is a tunnel in the file.
func one(name, listen, target string, more ...string) string {
	return fmt.Sprintf("- {name: %s, mode: server, listen: %q, target: %q%s}\n", name, listen, target, strings.Join(append([]string{""}, more...), ", "))
}

// write puts tunnels into the file.
func (m *many) write(t *testing.T, tunnels ...string) {
	t.Helper()
	writeFile(t, m.config+".next", []byte(m.top+strings.Join(tunnels, "")))
	if err := os.Rename(m.config+".next", m.config); err != nil {
		t.Fatal(err)
	}
}

// run starts the process.
func (m *many) run(t *testing.T, args ...string) {
	t.Helper()
	m.process = start(t, append([]string{"run", "--config", m.config, "--status", "http://" + reserve(t)}, args...)...)
}

// reload has the process read the file, and waits until it has.
func (m *many) reload(t *testing.T) {
	t.Helper()
	before := len(m.lines("msg=reloaded"))
	m.signal(t, syscall.SIGHUP)
	m.waitLines(t, before+1, "msg=reloaded")
}

// client is how a client of the tunnels speaks TLS.
func (m *many) client(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{
		RootCAs: m.pki.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{m.pki.client(t).TLSCertificate()},
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
}

// TestReloadsOfTheFileUnderLoad has tunnels come, go and change while 200 clients a second come to those that stay
// and to those that change: in what they are, in their name, and in how their address is written. None is refused, and
// nobody loses a connection.
func TestReloadsOfTheFileUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	target := serve(t, "tcp", echo).address
	stays, changes, renamed, moves, comes := reserve(t), reserve(t), reserve(t), reserve(t), reserve(t)
	generation := func(i int) []string {
		tunnels := []string{
			one("stays", stays, target),
			one("changes", changes, target, fmt.Sprintf("idle-timeout: %dh", 1+i%2)),
			one(fmt.Sprint("renamed-", i%3), renamed, target),
			one("moves", []string{"localhost:" + port(t, moves), moves}[i%2], target),
		}
		if i%2 == 1 {
			tunnels = append(tunnels, one("comes", comes, target))
			slices.Reverse(tunnels)
		}
		return tunnels
	}
	m.write(t, generation(0)...)
	m.run(t, "--quiet", "conns")
	config := m.client(t)

	var kept []net.Conn
	for _, address := range []string{stays, changes, renamed, moves} {
		kept = append(kept, attach(t, address, config))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var loads []*load
	var busy sync.WaitGroup
	for _, address := range []string{stays, changes, renamed, moves} {
		l := &load{address: address, config: config}
		loads = append(loads, l)
		busy.Go(func() { l.run(ctx, 20*time.Millisecond, 8) })
	}
	began := time.Now()
	reloads := 20
	if full() {
		reloads = 100
	}
	pace := time.NewTicker(100 * time.Millisecond) // so that clients come between two of them
	defer pace.Stop()
	for i := 1; i <= reloads; i++ {
		<-pace.C
		m.write(t, generation(i)...)
		m.reload(t)
	}
	took := time.Since(began)
	for _, l := range loads {
		eventually(t, "a hundred clients have been there", func() bool { return l.good.Load() >= 100 || len(l.errors()) > 0 })
	}
	stop()
	busy.Wait()

	var good int64
	for _, l := range loads {
		good += l.good.Load()
		if errs := l.errors(); len(errs) > 0 {
			t.Errorf("%s: %d of %d connections failed, the first: %v", l.address, len(errs), l.started.Load(), errs[0])
		}
	}
	t.Logf("%d reloads in %v, %d connections", reloads, took, good)
	for i, conn := range kept {
		if err := echoes(conn); err != nil {
			t.Errorf("connection %d from before: %v", i, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if failed := metricOf(t, m.process, `sallyport_reload_total{result="failure",tunnel=""}`); failed != 0 {
		t.Errorf("%v reloads failed", failed)
	}
	eventually(t, "what is gone is measured no more", func() bool {
		all := samples(t, m.process, "sallyport_accepted_total")
		_, gone := all[`sallyport_accepted_total{tunnel="renamed-0"}`]
		return !gone && len(all) == 4
	})
	if total := metricOf(t, m.process, `sallyport_accepted_total{tunnel="changes"}`); int64(total) != loads[1].started.Load()+1 {
		t.Errorf("%v connections are counted of the tunnel that was replaced, want %d", total, loads[1].started.Load()+1)
	}
	m.stop(t)
}

// attach connects to a tunnel, to stay.
func attach(t *testing.T, address string, config *tls.Config) net.Conn {
	t.Helper()
	conn := tls.Client(dial(t, "tcp", address), config)
	if err := conn.SetDeadline(time.Now().Add(10 * patience)); err != nil {
		t.Fatal(err)
	}
	if err := echoes(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// visit has a client come to a tunnel, and go.
func (m *many) visit(t *testing.T, address string) {
	t.Helper()
	if _, err := (&load{address: address, config: m.client(t)}).visit(); err != nil {
		t.Errorf("%s: %v", address, err)
	}
}
