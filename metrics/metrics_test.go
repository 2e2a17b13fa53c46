package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	gometrics "github.com/rcrowley/go-metrics"
)

func newMetrics(t *testing.T, prefix string) *Metrics {
	t.Helper()
	m := New(Options{Prefix: prefix, MaxIdentities: 3, Version: "1.2.3", Revision: "abc"})
	t.Cleanup(m.Close)
	return m
}

// afternoon is a sequence of events with every outcome in it: four connections
// are forwarded, of which one is still open, two ended by themselves or by
// shutdown, one by a deadline; three fail; one accept fails.
func afternoon(m *Metrics) {
	r := m.AddTunnel(Tunnel{Name: "server"})
	for range 7 {
		r.Accepted()
	}
	for _, ms := range []int{10, 20, 30, 40, 50, 60} {
		r.Handshake(time.Duration(ms)*time.Millisecond, nil)
	}
	for range 4 {
		r.Opened("alice")
	}
	r.Closed(1*time.Second, "eof")
	r.Closed(2*time.Second, "idle_timeout")
	r.Closed(3*time.Second, "shutdown")

	r.Failed("handshake", "timeout")
	r.Closed(10*time.Second, "timeout")
	r.Failed("handshake", "not_allowed")
	r.Closed(4*time.Second, "not_allowed")
	r.Failed("dial", "timeout")
	r.Closed(5*time.Second, "timeout")
	r.Failed("accept", "too_many_files")
}

// get asks h for target, with header lines as name, value pairs, and returns
// the response and its body.
func get(t *testing.T, h http.Handler, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	response := w.Result()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func jsonValues(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	_, body := get(t, m.JSON(), "GET", "/_metrics/json")
	var list []sample
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	values := map[string]float64{}
	for _, s := range list {
		if _, twice := values[s.Metric]; twice {
			t.Errorf("%s is there twice", s.Metric)
		}
		values[s.Metric] = s.Value
	}
	return values
}

// prometheusLines returns the samples of a Prometheus text by name (labels
// included), and each family's type.
func prometheusLines(t *testing.T, text string) (values, types map[string]string) {
	t.Helper()
	values, types = map[string]string{}, map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			types[name] = kind
		} else if !strings.HasPrefix(line, "#") {
			at := strings.LastIndexByte(line, ' ')
			if at < 0 {
				t.Fatalf("line without a value: %q", line)
			}
			values[line[:at]] = line[at+1:]
		}
	}
	return values, types
}

// recorded reads a list of metrics that were recorded, a name and a type in each line.
func recorded(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, kind, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("%s: %q", path, line)
		}
		types[name] = kind
	}
	return types
}

// ofGhostunnel leaves out the types of families that Ghostunnel does not have.
func ofGhostunnel(types map[string]string, prefix string) map[string]string {
	theirs := map[string]string{}
	for name, kind := range types {
		if rest, ok := strings.CutPrefix(name, prefix); ok && (strings.HasPrefix(rest, "accept_") || strings.HasPrefix(rest, "conn_")) {
			theirs[name] = kind
		}
	}
	return theirs
}

func TestJSONHasGhostunnelsNames(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	m.AddTunnel(Tunnel{Name: "server"})
	got := map[string]string{}
	for name := range jsonValues(t, m) {
		got[name] = "number"
	}
	if diff := cmp.Diff(recorded(t, "testdata/ghostunnel-json.txt"), got); diff != "" {
		t.Errorf("-recorded +got:\n%s", diff)
	}
}

func TestJSONGivesGhostunnelsNamesAndValues(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	afternoon(m)

	const ms, s = 1e6, 1e9
	want := map[string]float64{
		"ghostunnel.accept.total":                 7,
		"ghostunnel.accept.success":               4,
		"ghostunnel.accept.error":                 4,
		"ghostunnel.accept.timeout":               1,
		"ghostunnel.conn.open":                    1,
		"ghostunnel.conn.timeout":                 1,
		"ghostunnel.conn.handshake.count":         6,
		"ghostunnel.conn.handshake.min":           10 * ms,
		"ghostunnel.conn.handshake.max":           60 * ms,
		"ghostunnel.conn.handshake.mean":          35 * ms,
		"ghostunnel.conn.handshake.50-percentile": 35 * ms,
		"ghostunnel.conn.handshake.75-percentile": 52.5 * ms,
		"ghostunnel.conn.handshake.95-percentile": 60 * ms,
		"ghostunnel.conn.handshake.99-percentile": 60 * ms,
		"ghostunnel.conn.lifetime.count":          6,
		"ghostunnel.conn.lifetime.min":            1 * s,
		"ghostunnel.conn.lifetime.max":            10 * s,
		"ghostunnel.conn.lifetime.mean":           25 * s / 6.0,
		"ghostunnel.conn.lifetime.50-percentile":  3.5 * s,
		"ghostunnel.conn.lifetime.75-percentile":  6.25 * s,
		"ghostunnel.conn.lifetime.95-percentile":  10 * s,
		"ghostunnel.conn.lifetime.99-percentile":  10 * s,
	}
	if diff := cmp.Diff(want, jsonValues(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestJSONIsASortedListOfFourFields(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	before := time.Now().Unix()
	response, body := get(t, m.JSON(), "GET", "/_metrics/json")
	after := time.Now().Unix()

	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 22 {
		t.Errorf("%d entries, want 22: six counters and two timers of eight", len(list))
	}
	hostname, _ := os.Hostname()
	last := ""
	for _, entry := range list {
		name, _ := entry["metric"].(string)
		if name <= last {
			t.Errorf("%q comes after %q", name, last)
		}
		last = name
		if at, _ := entry["timestamp"].(float64); int64(at) < before || int64(at) > after {
			t.Errorf("%s: timestamp %v, not in %d to %d", name, entry["timestamp"], before, after)
		}
		if entry["value"] != 0.0 || entry["hostname"] != hostname || len(entry) != 4 {
			t.Errorf("%s: %v", name, entry)
		}
	}
}

func TestPrometheusGivesTheBridgesNamesTypesAndValues(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	afternoon(m)

	response, body := get(t, m.Prometheus(), "GET", "/_metrics/prometheus")
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type %q", got)
	}
	values, types := prometheusLines(t, body)

	if diff := cmp.Diff(recorded(t, "testdata/ghostunnel-prometheus.txt"), ofGhostunnel(types, "ghostunnel_")); diff != "" {
		t.Errorf("types: -want +got:\n%s", diff)
	}

	for name, want := range map[string]string{
		"ghostunnel_accept_total":                            "7",
		"ghostunnel_accept_success":                          "4",
		"ghostunnel_accept_error":                            "4",
		"ghostunnel_accept_timeout":                          "1",
		"ghostunnel_conn_open":                               "1",
		"ghostunnel_conn_timeout":                            "1",
		"ghostunnel_conn_handshake_count":                    "6",
		"ghostunnel_conn_handshake_sum":                      "2.1e+08",
		"ghostunnel_conn_handshake_min":                      "1e+07",
		"ghostunnel_conn_handshake_max":                      "6e+07",
		"ghostunnel_conn_handshake_mean":                     "3.5e+07",
		"ghostunnel_conn_lifetime_count":                     "6",
		"ghostunnel_conn_lifetime_sum":                       "2.5e+10",
		`ghostunnel_conn_handshake_timer_bucket{le="0.5"}`:   "3.5e+07",
		`ghostunnel_conn_handshake_timer_bucket{le="0.95"}`:  "6e+07",
		`ghostunnel_conn_handshake_timer_bucket{le="0.99"}`:  "6e+07",
		`ghostunnel_conn_handshake_timer_bucket{le="0.999"}`: "6e+07",
		`ghostunnel_conn_handshake_timer_bucket{le="+Inf"}`:  "6",
		"ghostunnel_conn_handshake_timer_sum":                "2.1e+08",
		"ghostunnel_conn_handshake_timer_count":              "6",
	} {
		if got := values[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestPrometheusFollowsEveryEvent(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	r := m.AddTunnel(Tunnel{Name: "server"})
	for _, want := range []string{"0", "1", "2"} {
		_, body := get(t, m.Prometheus(), "GET", "/metrics")
		if values, _ := prometheusLines(t, body); values["ghostunnel_conn_open"] != want {
			t.Errorf("conn_open = %q, want %q", values["ghostunnel_conn_open"], want)
		}
		r.Accepted()
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, prefix, json, prometheus string }{
		{"another word", "edge", "edge.conn.open", "edge_conn_open"},
		{"none", "", "conn.open", "conn_open"},
		{"dots, dashes and slashes", "my.app-1/eu west=x", "my.app-1/eu west=x.conn.open", "my_app_1_eu_west_x_conn_open"},
		{"a colon, which is allowed", "a:b", "a:b.conn.open", "a:b_conn_open"},
		{"a leading digit", "9lives", "9lives.conn.open", "_9lives_conn_open"},
		{"other signs", `p@"{}` + "\n#", "p@\"{}\n#.conn.open", "p_______conn_open"},
		{"other letters", "größe", "größe.conn.open", "gr__e_conn_open"},
		{"bytes that are no text", "a\xff", "a\ufffd.conn.open", "a__conn_open"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			m := newMetrics(t, c.prefix)
			m.AddTunnel(Tunnel{Name: "server"}).Accepted()
			if got := jsonValues(t, m); got[c.json] != 1 || len(got) != 22 {
				t.Errorf("JSON has no %q = 1 among 22: %v", c.json, got)
			}
			_, body := get(t, m.Prometheus(), "GET", "/metrics")
			values, types := prometheusLines(t, body)
			if values[c.prometheus] != "1" || len(ofGhostunnel(types, strings.TrimSuffix(c.prometheus, "conn_open"))) != 6+2*12 {
				t.Errorf("Prometheus has no %q = 1 among 30 families:\n%s", c.prometheus, body)
			}
		})
	}
}

func TestHandlerChoosesTheFormat(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	for query, contentType := range map[string]string{
		"":                               "application/json",
		"?format=json":                   "application/json",
		"?format=xml":                    "application/json",
		"?format=%zz":                    "application/json",
		"?format=prometheus":             "text/plain; version=0.0.4",
		"?format=prometheus&format=json": "text/plain; version=0.0.4",
	} {
		response, body := get(t, m.Handler(), "GET", "/_metrics"+query)
		if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, contentType) || response.StatusCode != 200 || body == "" {
			t.Errorf("%q: %d, Content-Type %q, want 200, %q", query, response.StatusCode, got, contentType)
		}
	}
}

func TestPrometheusSpeaksOpenMetricsWhenAsked(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	afternoon(m)
	response, body := get(t, m.Prometheus(), "GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text; version=1.0.0") {
		t.Errorf("Content-Type %q", got)
	}
	if !strings.HasSuffix(body, "# EOF\n") || !strings.Contains(body, "\nghostunnel_accept_total 7.0\n") {
		t.Errorf("not OpenMetrics:\n%s", body)
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	for name, h := range map[string]http.Handler{"any": m.Handler(), "json": m.JSON(), "prometheus": m.Prometheus()} {
		server := httptest.NewServer(h)
		defer server.Close()
		for method, status := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405} {
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/_metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode != status {
				t.Errorf("%s %s: %d, want %d", name, method, response.StatusCode, status)
			}
			if allow := response.Header.Get("Allow"); status == 405 && allow != "GET, HEAD" {
				t.Errorf("%s %s: Allow %q", name, method, allow)
			}
			if method == "HEAD" && len(body) > 0 {
				t.Errorf("%s HEAD has a body: %q", name, body)
			}
		}
	}
}

func TestScrapesAndEventsAtOnce(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	r := m.AddTunnel(Tunnel{Name: "server"})
	const each, rounds = 4, 20
	var all sync.WaitGroup
	for range each {
		all.Go(func() {
			for range rounds {
				r.Accepted()
				r.Handshake(time.Millisecond, nil)
				r.Opened("alice")
				r.Closed(time.Second, "eof")
			}
		})
		for _, h := range []http.Handler{m.Prometheus(), m.JSON()} {
			all.Go(func() {
				for range rounds {
					if response, body := get(t, h, "GET", "/"); response.StatusCode != 200 {
						t.Errorf("%d: %s", response.StatusCode, body)
					}
				}
			})
		}
	}
	all.Wait()

	_, body := get(t, m.Prometheus(), "GET", "/")
	values, _ := prometheusLines(t, body)
	if want := fmt.Sprint(each * rounds); values["ghostunnel_accept_total"] != want || values["ghostunnel_conn_open"] != "0" {
		t.Errorf("accept_total %q, want %q; conn_open %q, want 0", values["ghostunnel_accept_total"], want, values["ghostunnel_conn_open"])
	}
}

func TestScrapeSurvivesAPanicInTheBridge(t *testing.T) {
	t.Parallel()
	registry := gometrics.NewRegistry()
	gometrics.NewRegisteredCounter("good", registry).Inc(3)
	b := newBridge(registry, "x", prometheus.NewRegistry())

	// go-metrics cannot take a snapshot of a timer without a meter: it panics.
	broken := gometrics.NewCustomTimer(gometrics.NewHistogram(gometrics.NewUniformSample(1)), gometrics.NilMeter{})
	if err := registry.Register("broken", broken); err != nil {
		t.Fatal(err)
	}
	if response, body := get(t, b, "GET", "/"); response.StatusCode != 500 || !strings.HasPrefix(body, "reading the metrics: ") {
		t.Errorf("with a broken timer: %d %q, want 500 and the cause", response.StatusCode, body)
	}

	registry.Unregister("broken")
	response, body := get(t, b, "GET", "/")
	if values, _ := prometheusLines(t, body); response.StatusCode != 200 || values["x_good"] != "3" {
		t.Errorf("after it: %d %q, want 200 and x_good 3", response.StatusCode, body)
	}
}

func TestDeadlinesAloneCountAsTimeouts(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]float64{
		"idle_timeout": 1, "close_timeout": 1, "lifetime": 1, "client_stalled": 1,
		"eof": 0, "reset": 0, "shutdown": 0, "timeout": 0, "not_allowed": 0, "": 0,
	} {
		m := newMetrics(t, "g")
		r := m.AddTunnel(Tunnel{Name: "server"})
		r.Accepted()
		r.Closed(time.Second, reason)
		if got := jsonValues(t, m)["g.conn.timeout"]; got != want {
			t.Errorf("%q: conn.timeout = %v, want %v", reason, got, want)
		}
	}
}

func TestCloseKeepsCounts(t *testing.T) {
	t.Parallel()
	m := New(Options{Prefix: "g"})
	r := m.AddTunnel(Tunnel{Name: "server"})
	r.Accepted()
	m.Close()
	m.Close()
	r.Closed(time.Second, "eof")
	if got := jsonValues(t, m); got["g.accept.total"] != 1 || got["g.conn.open"] != 0 || got["g.conn.lifetime.count"] != 1 {
		t.Errorf("after Close: %v", got)
	}
}

func FuzzNamespaceIsAlwaysAPrometheusName(f *testing.F) {
	for _, seed := range []string{"", "ghostunnel", "9lives", "a\xff", "größe", "a.b-c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		name := namespace(prefix)
		for i := range len(name) {
			c := name[i]
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
			if !letter && (i == 0 || c < '0' || c > '9') {
				t.Errorf("namespace(%q) = %q", prefix, name)
			}
		}
		if again := namespace(name); again != name {
			t.Errorf("namespace(%q) = %q, and of that %q", prefix, name, again)
		}
	})
}
