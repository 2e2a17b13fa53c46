package netstat

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// usual is the range that Linux takes ports from.
var usual = portRange{32768, 60999}

// host is a host with connections.
type host struct {
	slow time.Duration // how long a read takes

	mu      sync.Mutex
	entries []entry
	err     error
	reads   int64
}

// set changes what the host has.
func (h *host) set(entries []entry, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries, h.err = entries, err
}

// looks is how often it was read.
func (h *host) looks() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reads
}

func (h *host) read(tcp6 bool) ([]entry, error) {
	time.Sleep(h.slow)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	var shown []entry
	for _, e := range h.entries {
		if tcp6 || !e.tcp6 {
			shown = append(shown, e)
		}
	}
	return shown, h.err
}

// conn is an established connection, from "LOCAL REMOTE" with ports, and the
// inode of its socket.
func conn(addresses string, inode uint64) entry {
	local, remote, _ := strings.Cut(addresses, " ")
	c := connection{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote), inode: inode}
	c.tcp6 = c.local.Addr().Is6()
	return entry{c, established}
}

// listening is a socket that listens.
func listening(local string) entry {
	at := netip.MustParseAddrPort(local)
	return entry{connection{local: at, tcp6: at.Addr().Is6(), inode: 1}, listens}
}

// scrape returns the samples of the gauge by their labels, and how often the
// lists could not be read.
func scrape(t *testing.T, w *Watch) (samples []string, failures string) {
	t.Helper()
	answer := httptest.NewRecorder()
	w.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("GET /metrics: %d\n%s", answer.Code, answer.Body)
	}
	for line := range strings.Lines(answer.Body.String()) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "netstat_tcp_longterm_connections_total"); ok {
			samples = append(samples, strings.TrimSpace(rest))
		}
		if rest, ok := strings.CutPrefix(line, "netstat_scan_failures_total "); ok {
			failures = rest
		}
	}
	slices.Sort(samples)
	return samples, failures
}

// want compares what scrape returns.
func want(t *testing.T, when string, w *Watch, samples ...string) {
	t.Helper()
	got, _ := scrape(t, w)
	if diff := cmp.Diff(samples, got); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", when, diff)
	}
}

// watching runs a Watch of h in a bubble while f looks at it.
func watching(t *testing.T, o Options, h *host, f func(t *testing.T, w *Watch)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(o, h.read, usual)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Run(ctx) }()
		synctest.Wait()
		f(t, w)
		cancel()
		<-ended
	})
}

const age = 6 * time.Second

func TestConnectionsCountOnceTheyAreOld(t *testing.T) {
	t.Parallel()
	h := &host{}
	watching(t, Options{MinAge: age, Simple: true}, h, func(t *testing.T, w *Watch) {
		want(t, "without any", w, "0")
		old := conn("10.0.0.1:443 10.0.0.2:40000", 7)
		h.set([]entry{old}, nil)
		time.Sleep(age - time.Second)
		want(t, "before it is old", w, "0")
		time.Sleep(2 * time.Second) // a pause more
		want(t, "once it is old", w, "1")
		h.set([]entry{old, conn("10.0.0.1:443 10.0.0.3:40000", 8)}, nil)
		time.Sleep(time.Second)
		want(t, "beside a new one", w, "1")
		h.set(nil, nil)
		time.Sleep(2 * fresh)
		want(t, "once both are gone", w, "0")
	})
}

// TestAgeIsOfOneConnection, whatever it has in common with others.
func TestAgeIsOfOneConnection(t *testing.T) {
	t.Parallel()
	const addresses = "10.0.0.1:443 10.0.0.2:40000"
	for _, test := range []struct {
		name     string
		old, new []entry
		want     string
	}{
		{"the same", []entry{conn(addresses, 7)}, []entry{conn(addresses, 7)}, "1"},
		{"accepted after a while in the queue", []entry{conn(addresses, 0)}, []entry{conn(addresses, 7)}, "1"},
		{"the addresses used anew", []entry{conn(addresses, 7)}, []entry{conn(addresses, 8)}, "0"},
		{"… and not accepted yet", []entry{conn(addresses, 7)}, []entry{conn(addresses, 0)}, "0"},
		{"the inode used anew", []entry{conn(addresses, 7)}, []entry{conn("10.0.0.1:443 10.0.0.2:40001", 7)}, "0"},
		{"the other end of one within the host", []entry{conn(addresses, 7)}, []entry{conn("10.0.0.2:40000 10.0.0.1:443", 8)}, "0"},
		{"two that differ by their inode alone", []entry{conn(addresses, 7), conn(addresses, 8)}, []entry{conn(addresses, 7), conn(addresses, 8)}, "2"},
		{"a state that is of no interest", []entry{{conn(addresses, 7).connection, 6}}, []entry{{conn(addresses, 7).connection, 6}}, "0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := &host{entries: test.old}
			watching(t, Options{MinAge: age, Simple: true}, h, func(t *testing.T, w *Watch) {
				time.Sleep(2 * age)
				h.set(test.new, nil)
				time.Sleep(time.Second)
				want(t, "then", w, test.want)
			})
		})
	}
}

// TestConnectionsThatAreLeftOutOnceKeepTheirAge, since the kernel may do that
// while others come and go; those that are gone for longer are forgotten.
func TestConnectionsThatAreLeftOutOnceKeepTheirAge(t *testing.T) {
	t.Parallel()
	all := []entry{conn("10.0.0.1:443 10.0.0.2:40000", 7), conn("10.0.0.1:443 10.0.0.2:40001", 0)}
	synctest.Test(t, func(t *testing.T) {
		h := &host{entries: all}
		w := newWatch(Options{MinAge: age, Simple: true}, h.read, usual)
		want(t, "at first", w, "0")
		time.Sleep(age)
		want(t, "when old", w, "2")
		h.set(nil, nil)
		time.Sleep(time.Second)
		want(t, "left out", w, "0")
		h.set(all, nil)
		time.Sleep(time.Second)
		// The one without inode may be another by now.
		want(t, "back again", w, "1")
		h.set(nil, nil)
		for range 2 {
			time.Sleep(time.Second)
			want(t, "gone", w, "0")
		}
		if len(w.known) != 0 {
			t.Errorf("%d connections that are gone are remembered", len(w.known))
		}
	})
}

func TestLabelsTellPortAndVersion(t *testing.T) {
	t.Parallel()
	h := &host{entries: []entry{
		listening("0.0.0.0:22"), listening("[::]:80"), listening("127.0.0.1:40404"), listening("127.0.0.1:9690"),
		conn("[::ffff:10.0.0.1]:80 [::ffff:10.0.0.2]:40000", 2), conn("[2001:db8::1]:80 [2001:db8::2]:40000", 3),
		conn("10.0.0.1:40404 10.0.0.2:40000", 4), // chosen, but somebody listens there
		conn("10.0.0.1:50000 10.0.0.2:443", 5), conn("10.0.0.1:50001 10.0.0.2:443", 6),
		conn("[::1]:50001 [::1]:80", 9),
		conn("10.0.0.1:1023 10.0.0.2:2049", 7),      // chosen by a program: NFS does
		conn("127.0.0.1:9690 127.0.0.1:50002", 100), // a scrape
	}}
	for _, test := range []struct {
		name    string
		options Options
		want    []string
	}{
		{"all ports but its own", Options{TCP6: true, OwnPort: 9690}, []string{
			`{port="1023",version="tcp"} 1`, `{port="22",version="tcp"} 0`, `{port="40404",version="tcp"} 1`, `{port="80",version="tcp6"} 2`,
			`{port="ephemeral",version="tcp"} 2`, `{port="ephemeral",version="tcp6"} 1`,
		}},
		{"of IPv4 sockets alone", Options{OwnPort: 9690}, []string{
			`{port="1023",version="tcp"} 1`, `{port="22",version="tcp"} 0`, `{port="40404",version="tcp"} 1`, `{port="ephemeral",version="tcp"} 2`,
		}},
		{"one port", Options{TCP6: true, Port: 80}, []string{`{port="80",version="tcp"} 0`, `{port="80",version="tcp6"} 2`}},
		{"one port that the system chose", Options{Port: 50001}, []string{`{port="50001",version="tcp"} 1`}},
		{"its own port, when asked for", Options{Port: 9690, OwnPort: 9690}, []string{`{port="9690",version="tcp"} 1`}},
		{"without labels", Options{TCP6: true, Simple: true, OwnPort: 9690}, []string{"7"}},
		{"without labels, one port", Options{TCP6: true, Simple: true, Port: 80}, []string{"2"}},
		{"without labels, a port of nobody", Options{TCP6: true, Simple: true, Port: 81}, []string{"0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want(t, "scraped", newWatch(test.options, h.read, usual), test.want...)
		})
	}
}

// TestConnectionsKeepTheirPortWhenNobodyListensAnyMore, as during a drain.
func TestConnectionsKeepTheirPortWhenNobodyListensAnyMore(t *testing.T) {
	t.Parallel()
	h := &host{entries: []entry{conn("10.0.0.1:40404 10.0.0.2:40000", 4), listening("[::]:40404")}}
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(Options{TCP6: true}, h.read, usual)
		w.look()
		h.set(h.entries[:1], nil)
		time.Sleep(time.Second)
		want(t, "without a listener", w, `{port="40404",version="tcp"} 1`)
	})
}

func TestListsThatCannotBeReadAreNoConnections(t *testing.T) {
	t.Parallel()
	all := []entry{conn("10.0.0.1:443 10.0.0.2:40000", 7)}
	h := &host{entries: all}
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(Options{MinAge: age, Simple: true}, h.read, usual)
		w.look()
		time.Sleep(age)
		h.set(nil, errors.New("permission denied"))
		if samples, failures := scrape(t, w); len(samples) != 0 || failures != "1" {
			t.Errorf("while they cannot be read: %q, %s failures", samples, failures)
		}
		h.set(all, nil)
		time.Sleep(time.Second)
		if samples, failures := scrape(t, w); !slices.Equal(samples, []string{"1"}) || failures != "1" {
			t.Errorf("once they can: %q, %s failures", samples, failures)
		}
	})
}

// TestLooksAreFewEnough for the age that is asked for, and for a busy host.
func TestLooksAreFewEnough(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		age, slow time.Duration
		want      int64 // in a minute, beside the first
	}{
		{6 * time.Second, 0, 60},
		{time.Millisecond, 0, 600},
		{time.Hour, 0, 12},
		{6 * time.Second, 500 * time.Millisecond, 6}, // 10 s apart, and half a second long
	} {
		t.Run(fmt.Sprint(test.age, test.slow), func(t *testing.T) {
			t.Parallel()
			h := &host{slow: test.slow}
			watching(t, Options{MinAge: test.age}, h, func(t *testing.T, _ *Watch) {
				before := h.looks()
				time.Sleep(time.Minute + time.Millisecond)
				if got := h.looks() - before; got < test.want-1 || got > test.want {
					t.Errorf("%d looks in a minute, want %d", got, test.want)
				}
			})
		})
	}
}

// TestScrapesShareALook, so that many of them cost little.
func TestScrapesShareALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		w := newWatch(Options{Simple: true}, h.read, usual)
		for range 1000 {
			want(t, "scraped", w, "0")
			time.Sleep(time.Millisecond)
		}
		if got := h.looks(); got > 10 {
			t.Errorf("1000 scrapes within a second read the lists %d times", got)
		}
	})
}

// TestScrapesOfABusyHostShareALook for longer: to list many connections takes a
// processor, and anybody may scrape.
func TestScrapesOfABusyHostShareALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{slow: 500 * time.Millisecond}
		w := newWatch(Options{Simple: true}, h.read, usual)
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			want(t, "scraped", w, "0")
		}
		if got := h.looks(); got > 6 {
			t.Errorf("scrapes read the lists %d times in a minute, want 6: 10 s apart", got)
		}
	})
}
