package metrics

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cyberdelia "github.com/cyberdelia/go-metrics-graphite"
	"github.com/google/go-cmp/cmp"
)

// listen returns a listener that ends with the test, and what each connection
// to it sends.
func listen(t *testing.T) (*net.TCPListener, <-chan string) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	sent := make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(conn)
			_ = conn.Close()
			sent <- string(text)
		}
	}()
	return ln, sent
}

var (
	lineTime = regexp.MustCompile(` \d+\n`)
	rateLine = regexp.MustCompile(`(?m)^\S*(-minute|mean-rate) .*\n`) // a rate falls from one moment to the next
)

// sorted is the lines in order and without their times and rates.
func sorted(text string) []string {
	lines := slices.Collect(strings.Lines(lineTime.ReplaceAllString(rateLine.ReplaceAllString(text, "RATE $1\n"), "\n")))
	slices.Sort(lines)
	return lines
}

// What go-metrics-graphite sends is what dashboards know.
func TestGraphiteLinesAreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	afternoon(m)
	m.settle()
	ln, sent := listen(t)
	err := cyberdelia.Once(cyberdelia.Config{
		Addr:          ln.Addr().(*net.TCPAddr),
		Registry:      m.ghostunnel.registry,
		FlushInterval: 30 * time.Second,
		DurationUnit:  time.Nanosecond,
		Prefix:        "ghostunnel",
		Percentiles:   []float64{.5, .75, .95, .99, .999},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := <-sent
	got := string(m.graphiteLines(time.Now(), 30*time.Second))
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("-library +got:\n%s", diff)
	}
	if n := strings.Count(got, "-minute "); n != 6 {
		t.Errorf("%d rates by the minute, want 6", n)
	}
}

// sendTo sends readings to a carbon until the function is called that it returns, which waits for the last one to be sent.
func sendTo(ctx context.Context, m *Metrics, carbon net.Listener, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Graphite(ctx, Graphite{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", carbon.Addr().String())
			},
			Every: every,
			Log:   slog.New(slog.DiscardHandler),
		})
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestGraphiteGetsReadings(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "g")
	r := m.AddTunnel(Tunnel{Name: "web"})
	ln, sent := listen(t)
	stop := sendTo(t.Context(), m, ln, 10*time.Millisecond)
	defer stop()
	if first := <-sent; !strings.Contains(first, "g.accept.total.count 0 ") || !strings.HasSuffix(first, "\n") {
		t.Errorf("first:\n%s", first)
	}
	r.Accepted()
	for !strings.Contains(<-sent, "g.accept.total.count 1 ") {
	}
}

func TestGraphiteGetsALastReading(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "g")
	r := m.AddTunnel(Tunnel{Name: "web"})
	ln, sent := listen(t)
	stop := sendTo(t.Context(), m, ln, time.Hour)
	r.Accepted()
	stop()
	if last := <-sent; !strings.Contains(last, "g.accept.total.count 1 ") {
		t.Errorf("last:\n%s", last)
	}
}

func FuzzGraphiteLinesAreThreeWords(f *testing.F) {
	for _, seed := range []string{"", "ghostunnel", "a b", "a\nb 1 2", "\x00", "\u2028", "\xff"} {
		f.Add(seed)
	}
	m := New(Options{})
	f.Cleanup(m.Close)
	f.Fuzz(func(t *testing.T, prefix string) {
		m := &Metrics{prefix: prefix, ghostunnel: m.ghostunnel}
		lines := bytes.Split(bytes.TrimSuffix(m.graphiteLines(time.Now(), time.Second), []byte("\n")), []byte("\n"))
		if len(lines) != 6*2+2*15 {
			t.Fatalf("%d lines", len(lines))
		}
		for _, line := range lines {
			words := strings.Fields(string(line))
			if len(words) != 3 || !utf8.Valid(line) || strings.HasPrefix(words[0], ".") != strings.HasPrefix(prefix, ".") {
				t.Fatalf("%q", line)
			}
			if _, err := strconv.ParseFloat(words[1], 64); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	})
}
