package tests

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/devpki"
)

// benched is a server mode process that is measured.
type benched struct {
	address string
	pid     int
	stop    func()
}

// benchBinary builds sallyport as it is shipped, and makes certificates beside it.
func benchBinary(b *testing.B) (dir, binary string) {
	b.Helper()
	dir = b.TempDir()
	if err := devpki.Init(dir, devpki.FileOptions{}); err != nil {
		b.Fatal(err)
	}
	binary = filepath.Join(dir, "sallyport")
	if out, err := exec.Command("go", "build", "-o", binary, "sallyport").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return dir, binary
}

// startBenched starts one before a target, with more flags.
func startBenched(b *testing.B, dir, binary, name, target string, flags ...string) *benched {
	b.Helper()
	p := &benched{address: filepath.Join(dir, name)}
	args := []string{
		"server", "--listen", "unix:" + p.address, "--target", target, "--allow-all", "--quiet", "all",
		"--cert", filepath.Join(dir, "server.pem"), "--key", filepath.Join(dir, "server-key.pem"), "--cacert", filepath.Join(dir, "ca.pem"),
	}
	cmd := exec.Command(binary, append(args, flags...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	p.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	b.Cleanup(p.stop)
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("unix", p.address)
		if err == nil {
			_ = conn.Close()
			return p
		}
		if time.Since(began) > patience {
			b.Fatal(err)
		}
	}
}

// cpu is how long the process has computed so far, for itself and in the system.
func (p *benched) cpu(b *testing.B) time.Duration {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("%d threads, %v", len(threads), err)
	}
	var sum time.Duration
	for _, path := range threads {
		text, err := os.ReadFile(path)
		var on int64 // nanoseconds on a processor
		if _, scanned := fmt.Fscan(bytes.NewReader(text), &on); err != nil || scanned != nil {
			b.Fatal(err, scanned)
		}
		sum += time.Duration(on)
	}
	return sum
}

// dial connects as a client that the process lets in.
func (p *benched) dial(b *testing.B, config *tls.Config) *tls.Conn {
	b.Helper()
	socket, err := net.Dial("unix", p.address)
	if err != nil {
		b.Fatal(err)
	}
	conn := tls.Client(socket, config)
	if err := conn.Handshake(); err != nil {
		b.Fatal(err)
	}
	return conn
}

// benchClient is how to connect with the identity in a directory.
func benchClient(b *testing.B, dir string) *tls.Config {
	b.Helper()
	id, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		b.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{id}, InsecureSkipVerify: true}
}

// benchTarget listens for the processes that are measured; each connection is
// handled by handle.
func benchTarget(b *testing.B, dir string, handle func(net.Conn)) string {
	b.Helper()
	path := filepath.Join(dir, "target")
	ln, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return "unix:" + path
}

// BenchmarkMetricsOn is the processor time that a process needs with metrics
// against one without: two processes, which are given the same load in turns, so
// that what else the machine does meets both.
func BenchmarkMetricsOn(b *testing.B) {
	dir, binary := benchBinary(b)
	config := benchClient(b, dir)
	target := benchTarget(b, dir, echo)
	sink := filepath.Join(dir, "sink")
	if err := os.Mkdir(sink, 0o700); err != nil {
		b.Fatal(err)
	}
	swallow := benchTarget(b, sink, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	for _, load := range []struct {
		name, target string
		run          func(*benched)
	}{
		{"connection", target, func(p *benched) {
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range 50 {
						conn := p.dial(b, config)
						_, _ = conn.Write([]byte{1})
						_, _ = io.ReadFull(conn, make([]byte, 1))
						_ = conn.Close()
					}
				})
			}
			all.Wait()
		}},
		{"bytes", swallow, func(p *benched) {
			conn := p.dial(b, config)
			chunk := make([]byte, 1<<20)
			for range 1 << 8 {
				if _, err := conn.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			_ = conn.CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}},
	} {
		b.Run(load.name, func(b *testing.B) {
			spend := func(p *benched) time.Duration {
				before := p.cpu(b)
				load.run(p)
				return p.cpu(b) - before
			}
			var ratios []float64
			var withoutAll, withAll time.Duration
			for b.Loop() {
				// Each time two others: where a process comes to lie in memory makes it a few hundredths faster or slower.
				var without, with time.Duration
				off := startBenched(b, dir, binary, fmt.Sprint(load.name, len(ratios), "-off"), load.target)
				on := startBenched(b, dir, binary, fmt.Sprint(load.name, len(ratios), "-on"), load.target,
					"--metrics-graphite", "127.0.0.1:1", "--metrics-interval", "24h")
				load.run(off)
				load.run(on)
				for turn := range 4 {
					if turn%2 == 0 {
						without += spend(off)
						with += spend(on)
					} else {
						with += spend(on)
						without += spend(off)
					}
				}
				off.stop()
				on.stop()
				withoutAll, withAll = withoutAll+without, withAll+with
				ratios = append(ratios, float64(with)/float64(without))
			}
			slices.Sort(ratios)
			b.ReportMetric(float64(withoutAll.Microseconds())/float64(len(ratios)), "µs-off")
			b.ReportMetric(float64(withAll.Microseconds())/float64(len(ratios)), "µs-on")
			b.ReportMetric(100*(ratios[len(ratios)/2]-1), "%-more-median")
			b.ReportMetric(100*(float64(withAll)/float64(withoutAll)-1), "%-more")
		})
	}
}

// BenchmarkScrape is how long a scrape takes while 5,000 connections are open,
// and what it costs the process.
func BenchmarkScrape(b *testing.B) {
	const connections = 5000
	dir, binary := benchBinary(b)
	status := filepath.Join(dir, "status")
	p := startBenched(b, dir, binary, "listen", benchTarget(b, dir, echo), "--status", "unix:"+status)
	config := benchClient(b, dir)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	var mu sync.Mutex
	var open []*tls.Conn
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range connections / 4 {
				conn := p.dial(b, config)
				_, _ = conn.Write([]byte{1})
				_, _ = io.ReadFull(conn, make([]byte, 1))
				mu.Lock()
				open = append(open, conn)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", status)
	}}}
	defer client.CloseIdleConnections()
	var took []time.Duration
	size := 0
	before := p.cpu(b)
	for b.Loop() {
		began := time.Now()
		response, err := client.Get("http://unix/metrics")
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			b.Fatal(err)
		}
		_ = response.Body.Close()
		took, size = append(took, time.Since(began)), len(text)
		if want := fmt.Sprintf(`sallyport_connections_open{tunnel="server"} %d`, connections); !strings.Contains(string(text), want) {
			b.Fatalf("no %s", want)
		}
	}
	spent := p.cpu(b) - before
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
	b.ReportMetric(float64(spent.Microseconds())/float64(len(took)), "µs-cpu")
	b.ReportMetric(float64(size), "bytes")
	for _, conn := range open {
		_ = conn.Close()
	}
}
