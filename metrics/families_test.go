package metrics

import (
	"crypto/tls"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
)

// ownValues returns the samples of families of Sallyport's own, but for the
// buckets of histograms.
func ownValues(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	_, body := get(t, m.Prometheus(), "GET", "/metrics")
	values, _ := prometheusLines(t, body)
	maps.DeleteFunc(values, func(name, _ string) bool {
		return !strings.HasPrefix(name, "sallyport_") || strings.Contains(name, "_bucket")
	})
	return values
}

// moved is what differs between two scrapes.
func moved(before, after map[string]string) map[string]string {
	differ := map[string]string{}
	for name, value := range after {
		if before[name] != value {
			differ[name] = value
		}
	}
	return differ
}

func TestEachEventMovesWhatItIsAbout(t *testing.T) {
	t.Parallel()
	session := func(version, suite uint16, resumed bool) *tls.ConnectionState {
		return &tls.ConnectionState{Version: version, CipherSuite: suite, DidResume: resumed}
	}
	for _, c := range []struct {
		name  string
		event func(*Recorder)
		want  map[string]string
	}{
		{"accepted, which the tunnel counts itself", func(r *Recorder) { r.Accepted() }, map[string]string{}},
		{"a handshake that was completed", func(r *Recorder) {
			r.Handshake(250*time.Millisecond, session(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, true))
			r.Handshake(250*time.Millisecond, session(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, true))
			r.Handshake(500*time.Millisecond, session(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false))
		}, map[string]string{
			`handshake_duration_seconds_count{tunnel="web"}`:                                                                               "3",
			`handshake_duration_seconds_sum{tunnel="web"}`:                                                                                 "1",
			`tls_connections_total{cipher="TLS_AES_128_GCM_SHA256",resumed="true",tunnel="web",version="TLS 1.3"}`:                         "2",
			`tls_connections_total{cipher="TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",resumed="false",tunnel="web",version="TLS 1.2"}`: "1",
		}},
		{"a handshake that failed", func(r *Recorder) {
			r.Handshake(250*time.Millisecond, nil)
			r.Failed("handshake", "not_tls")
			r.Closed(time.Second, "not_tls")
		}, map[string]string{
			`handshake_duration_seconds_count{tunnel="web"}`:                  "1",
			`handshake_duration_seconds_sum{tunnel="web"}`:                    "0.25",
			`handshake_failures_total{reason="not_tls",tunnel="web"}`:         "1",
			`failures_total{reason="not_tls",stage="handshake",tunnel="web"}`: "1",
			`closed_total{reason="not_tls",tunnel="web"}`:                     "1",
			`connection_duration_seconds_count{tunnel="web"}`:                 "1",
			`connection_duration_seconds_sum{tunnel="web"}`:                   "1",
		}},
		{"a denial", func(r *Recorder) { r.Failed("handshake", "not_allowed") }, map[string]string{
			`handshake_failures_total{reason="not_allowed",tunnel="web"}`:         "1",
			`failures_total{reason="not_allowed",stage="handshake",tunnel="web"}`: "1",
			`authorization_denied_total{reason="not_allowed",tunnel="web"}`:       "1",
		}},
		{"a dial that failed", func(r *Recorder) {
			r.Dialled(time.Second)
			r.Failed("dial", "connection_refused")
		}, map[string]string{
			`dial_duration_seconds_count{tunnel="web"}`:                                           "1",
			`dial_duration_seconds_sum{tunnel="web"}`:                                             "1",
			`dial_failures_total{reason="connection_refused",target="localhost:80",tunnel="web"}`: "1",
			`failures_total{reason="connection_refused",stage="dial",tunnel="web"}`:               "1",
		}},
		{"an accept that failed, for a reason that nobody listed", func(r *Recorder) { r.Failed("accept", "odd") }, map[string]string{
			`failures_total{reason="odd",stage="accept",tunnel="web"}`: "1",
		}},
		{"connections that were opened", func(r *Recorder) {
			r.Opened("alice")
			r.Opened("")
			r.Opened("alice")
		}, map[string]string{
			`peer_connections_total{identity="alice",tunnel="web"}`: "2",
			`peer_connections_total{identity="",tunnel="web"}`:      "1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMetrics(t, "ghostunnel")
			r := m.AddTunnel(Tunnel{
				Name: "web", Target: "localhost:80",
				Failures: map[string][]string{"handshake": {"not_tls", "not_allowed"}, "dial": {"connection_refused"}, "accept": {"error"}},
				Ends:     []string{"eof", "not_tls"},
				Denials:  []string{"not_allowed"},
			})
			m.AddTunnel(Tunnel{Name: "another"})
			before := ownValues(t, m)
			for _, zero := range []string{
				`handshake_failures_total{reason="not_tls",tunnel="web"}`,
				`dial_failures_total{reason="connection_refused",target="localhost:80",tunnel="web"}`,
				`failures_total{reason="error",stage="accept",tunnel="web"}`,
				`closed_total{reason="eof",tunnel="web"}`,
				`authorization_denied_total{reason="not_allowed",tunnel="web"}`,
				`dial_duration_seconds_count{tunnel="web"}`,
			} {
				if got := before["sallyport_"+zero]; got != "0" {
					t.Errorf("%s is %q at the start, want 0", zero, got)
				}
			}
			c.event(r)
			want := map[string]string{}
			for name, value := range c.want {
				want["sallyport_"+name] = value
			}
			if diff := cmp.Diff(want, moved(before, ownValues(t, m))); diff != "" {
				t.Errorf("-want +moved:\n%s", diff)
			}
		})
	}
}

func TestScrapesTellOfEachTarget(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	before := ownValues(t, m)
	m.AddTunnel(Tunnel{Name: "web", Target: "a:1, b:1", Targets: func() []Target {
		return []Target{
			{Name: "a:1", Up: true, Known: true, Open: 3, Total: 7, Failures: map[string]int64{"timeout": 2}},
			{Name: "b:1", Ejected: true, Ejections: 4},
			{Name: "c:1", Alone: true, Up: true, Known: true, Open: 5, Total: 6}, // of which its route tells
		}
	}})
	got := moved(before, ownValues(t, m))
	maps.DeleteFunc(got, func(name, _ string) bool { return !strings.HasPrefix(name, "sallyport_target_") })
	want := map[string]string{}
	for name, value := range map[string]string{
		`up{target="a:1",tunnel="web"}`:                              "1",
		`up{target="c:1",tunnel="web"}`:                              "1",
		`connections_open{target="a:1",tunnel="web"}`:                "3",
		`connections_open{target="b:1",tunnel="web"}`:                "0",
		`connections_total{target="a:1",tunnel="web"}`:               "7",
		`connections_total{target="b:1",tunnel="web"}`:               "0",
		`failures_total{reason="timeout",target="a:1",tunnel="web"}`: "2",
		`ejected{target="a:1",tunnel="web"}`:                         "0",
		`ejected{target="b:1",tunnel="web"}`:                         "1",
		`ejections_total{target="a:1",tunnel="web"}`:                 "0",
		`ejections_total{target="b:1",tunnel="web"}`:                 "4",
	} {
		want["sallyport_target_"+name] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestScrapesTellHowATunnelStands(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	up, known, draining, toTarget := false, false, false, int64(10)
	m.AddTunnel(Tunnel{
		Name: "web", Target: "localhost:80", Limit: 7,
		Counts:   func() (int64, int64) { return 3, 5 },
		Bytes:    func() (int64, int64) { return toTarget, 20 },
		Draining: func() bool { return draining },
		TargetUp: func() (bool, bool) { return up, known },
		Routes:   []Route{{Name: "shop", Counts: func() (int64, int64, int64) { return 1, 4, 2 }}},
	})
	m.AddTunnel(Tunnel{Name: "bare"})
	first := ownValues(t, m)
	for name, want := range map[string]string{
		`connections_open{tunnel="web"}`:                                                          "3",
		`accepted_total{tunnel="web"}`:                                                            "5",
		`connections_limit{tunnel="web"}`:                                                         "7",
		`connections_limit{tunnel="bare"}`:                                                        "+Inf",
		`bytes_total{direction="in",tunnel="web"}`:                                                "10",
		`draining{tunnel="web"}`:                                                                  "0",
		`route_connections_open{route="shop",tunnel="web"}`:                                       "1",
		`route_connections_total{outcome="forwarded",route="shop",tunnel="web"}`:                  "4",
		`route_connections_total{outcome="failed",route="shop",tunnel="web"}`:                     "2",
		`bytes_total{direction="out",tunnel="web"}`:                                               "20",
		fmt.Sprintf(`build_info{goversion=%q,revision="abc",version="1.2.3"}`, runtime.Version()): "1",
	} {
		if got := first["sallyport_"+name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for name := range first {
		if strings.HasPrefix(name, "sallyport_target_up") {
			t.Errorf("%s, and nobody knows", name)
		}
	}
	known, draining, toTarget = true, true, 11
	second := moved(first, ownValues(t, m))
	up = true
	third := moved(second, ownValues(t, m))
	want := map[string]string{
		`sallyport_target_up{target="localhost:80",tunnel="web"}`: "0",
		`sallyport_draining{tunnel="web"}`:                        "1",
		`sallyport_bytes_total{direction="in",tunnel="web"}`:      "11",
	}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("-want +moved:\n%s", diff)
	}
	if got := third[`sallyport_target_up{target="localhost:80",tunnel="web"}`]; got != "1" {
		t.Errorf("the target is up: %q", got)
	}
}

// A CA can issue any number of identities, and whoever holds one may call
// itself what it likes.
func TestIdentitiesAreLimitedAndFitForALabel(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel") // three at most
	r := m.AddTunnel(Tunnel{Name: "web"})
	long := strings.Repeat("n", 10_000)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { r.Opened("CN=\xff\"\n") })
	}
	all.Wait()
	r.Opened(long)
	r.Opened(long)
	r.Opened("third")
	for i := range 1000 {
		r.Opened(fmt.Sprint("late ", i))
	}
	r.Opened("third")
	want := []string{
		"sallyport_peer_connections_total{identity=\"CN=\ufffd\\\"\\n\",tunnel=\"web\"} 10",
		`sallyport_peer_connections_total{identity="` + long[:256] + `…",tunnel="web"} 2`,
		`sallyport_peer_connections_total{identity="other",tunnel="web"} 1000`,
		`sallyport_peer_connections_total{identity="third",tunnel="web"} 2`,
	}
	if diff := cmp.Diff(want, ownLines(t, m, "_peer_")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLabelsOfAnyBytesAreScraped(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	r := m.AddTunnel(Tunnel{
		Name: "\xff", Target: "\xfe", Ends: []string{"\xfd"}, Denials: []string{"\xfc"},
		Failures: map[string][]string{"\xfb": {"\xfa"}, "dial": {"\xf9"}},
		TargetUp: func() (bool, bool) { return true, true },
	})
	r.Failed("handshake", "\xfc")
	r.Closed(time.Second, "\xf8")
	m.Reloaded("\xff", nil)
	if lines := ownLines(t, m, `reason="`+"\ufffd"+`"`); len(lines) < 5 {
		t.Errorf("the reasons are %q", lines)
	}
}

func TestPromlintFindsNothingInOurFamilies(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	afternoon(m)
	families, err := m.own.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
	names := map[string]bool{}
	for _, f := range families {
		prefix, _, _ := strings.Cut(f.GetName(), "_")
		names[prefix] = true
	}
	if diff := cmp.Diff([]string{"go", "process", "sallyport"}, slices.Sorted(maps.Keys(names))); diff != "" {
		t.Error(diff)
	}
}

func TestDurationsAreNativeHistogramsForThoseWhoAsk(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	r := m.AddTunnel(Tunnel{Name: "web"})
	r.Handshake(time.Millisecond, nil)
	r.Dialled(time.Millisecond)
	r.Closed(time.Second, "eof")
	_, body := get(t, m.Prometheus(), "GET", "/metrics", "Accept",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	native := 0
	for in := strings.NewReader(body); in.Len() > 0; {
		var f dto.MetricFamily
		if err := protodelim.UnmarshalFrom(in, &f); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(f.GetName(), "sallyport_") || f.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) == 0 || h.GetSampleCount() != 1 || math.IsNaN(h.GetSampleSum()) {
			t.Errorf("%s: %v", f.GetName(), h)
		}
		native++
	}
	if native != 3 {
		t.Errorf("%d histograms, want 3", native)
	}
}
