package tests

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/devpki"
)

// TestAThousandReloadsUnderLoad has a server reload new identities as fast as
// it can while clients come, 50 a second at most: no handshake fails, and the process
// grows neither in memory, nor in descriptors, nor in goroutines.
func TestAThousandReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	reloads := 1000
	if full() {
		reloads = 10000
	}
	p := newPKI(t)
	var keystores [8][]byte
	for i := range keystores {
		id, err := p.Issue(devpki.Request{CommonName: fmt.Sprint("server ", i), DNSNames: []string{"localhost"}})
		if err != nil {
			t.Fatal(err)
		}
		keystores[i] = id.CombinedPEM()
	}
	keystore := filepath.Join(p.dir, "keystore.pem")
	writeFile(t, keystore, keystores[0])
	listen := reserve(t)
	server := start(t, "server", "--listen", listen, "--target", serve(t, "tcp", echo).address, "--allow-cn", "client",
		"--keystore", keystore, "--cacert", p.root, "--timed-reload", "10ms",
		"--status", "http://"+reserve(t), "--enable-pprof", "--quiet", "conns")

	load := &load{address: listen, config: &tls.Config{
		RootCAs: p.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{p.client(t).TLSCertificate()},
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}}
	// phase has clients come, and new identities, until there were so many
	// reloads. What the process takes is measured when the clients have gone.
	phase := func(until int) footprint {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var busy sync.WaitGroup
		busy.Go(func() { load.run(ctx, 20*time.Millisecond, 16) })
		busy.Go(func() {
			if err := rotate(ctx, keystore, keystores[:]); err != nil {
				t.Error(err)
			}
		})
		waitReloads(t, server, until)
		stop()
		busy.Wait()
		eventually(t, "the last connection has gone", func() bool {
			var report struct{ Connections struct{ Open int } }
			server.status.getJSON(t, "/_status", &report)
			return report.Connections.Open == 0
		})
		return measure(t, server)
	}
	before := phase(reloads / 4) // whatever is made once has been made by then
	after := phase(reloads)

	t.Logf("%d connections, %d resumed; before %+v, after %+v", load.good.Load(), load.resumed.Load(), before, after)
	if errs := load.errors(); len(errs) > 0 {
		t.Errorf("%d connections failed, the first: %v", len(errs), errs[0])
	}
	if resumed := load.resumed.Load(); resumed == 0 || load.good.Load()-resumed < 100 || len(load.identities()) < 2 {
		t.Errorf("%d connections, %d resumed, to %d identities: that was no load", load.good.Load(), resumed, len(load.identities()))
	}
	if failed := metricOf(t, server, `sallyport_reload_total{result="failure",tunnel="server"}`); failed != 0 {
		t.Errorf("%v reloads failed", failed)
	}
	// A request and a reload may be under way, or not.
	if after.descriptors > before.descriptors+4 {
		t.Errorf("from %d to %d descriptors", before.descriptors, after.descriptors)
	}
	if after.goroutines > before.goroutines+4 {
		t.Errorf("from %d to %d goroutines", before.goroutines, after.goroutines)
	}
	if after.heap > before.heap+2<<20 {
		t.Errorf("from %d to %d bytes in use", before.heap, after.heap)
	}
	server.stop(t)
}

// rotate replaces a file by one of contents after the other, until ctx ends.
func rotate(ctx context.Context, path string, contents [][]byte) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for i := 0; ; i++ {
		next := path + ".next"
		if err := os.WriteFile(next, contents[i%len(contents)], 0o600); err != nil {
			return err
		}
		if err := os.Rename(next, path); err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// waitReloads waits until a process has reloaded so often.
func waitReloads(t *testing.T, p *process, n int) {
	t.Helper()
	for done := -1.0; done < float64(n); {
		last := done
		eventually(t, "one more reload", func() bool {
			done = metricOf(t, p, `sallyport_reload_total{result="success",tunnel="server"}`)
			return done > last
		})
	}
}

// footprint is what a process takes.
type footprint struct{ heap, goroutines, descriptors int }

var (
	heapLine      = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)
	goroutineLine = regexp.MustCompile(`^goroutine profile: total (\d+)`)
)

// measure asks a process, which has --enable-pprof, what it takes.
func measure(t *testing.T, p *process) (f footprint) {
	t.Helper()
	number := func(path string, line *regexp.Regexp) int {
		_, body := p.status.get(t, path)
		found := line.FindStringSubmatch(body)
		if found == nil {
			t.Fatalf("%s has no %s", path, line)
		}
		n, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// What finalizers let go is free after the second collection.
	number("/debug/pprof/heap?debug=1&gc=1", heapLine)
	f.heap = number("/debug/pprof/heap?debug=1&gc=1", heapLine)
	f.goroutines = number("/debug/pprof/goroutine?debug=1", goroutineLine)
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f.descriptors = len(descriptors)
	return f
}

// load is clients that come at a steady rate, say something, and go. Every
// second one resumes no session.
type load struct {
	address string
	config  *tls.Config

	started, good, resumed atomic.Int64

	mu     sync.Mutex
	failed []error
	seen   map[string]bool // common names of the identities met
}

// run starts a client at each interval, unless there are so many already, until ctx
// ends, and waits for them. On a machine that has other things to do, ever more would
// wait otherwise, until they are turned away for it.
func (l *load) run(ctx context.Context, interval time.Duration, most int) {
	var clients sync.WaitGroup
	defer clients.Wait()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	places := make(chan struct{}, most)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case places <- struct{}{}:
			clients.Go(func() {
				l.note(l.visit())
				<-places
			})
		default: // when there is a place again
		}
	}
}

func (l *load) visit() (name string, err error) {
	raw, err := net.DialTimeout("tcp", l.address, patience)
	if err != nil {
		return "", err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	config := l.config
	if full := l.started.Add(1)%2 == 0; full {
		config = config.Clone()
		config.ClientSessionCache = nil
	}
	conn := tls.Client(raw, config)
	if err := echoes(conn); err != nil {
		return "", err
	}
	state := conn.ConnectionState()
	if state.DidResume {
		l.resumed.Add(1)
	}
	return state.PeerCertificates[0].Subject.CommonName, nil
}

func (l *load) note(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.good.Add(1)
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	l.seen[name] = true
}

func (l *load) errors() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *load) identities() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}
