package metrics

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"sallyport/internal/peertext"
)

// requestValues are the samples of families with a prefix, but for the buckets of
// histograms.
func requestValues(t *testing.T, m *Metrics, prefix string) map[string]string {
	t.Helper()
	_, body := get(t, m.Prometheus(), "GET", "/metrics")
	values, _ := prometheusLines(t, body)
	maps.DeleteFunc(values, func(name, _ string) bool {
		return !strings.HasPrefix(name, prefix) || strings.Contains(name, "_bucket")
	})
	return values
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	r := m.AddRequests("web")
	r.Answered("web.example.com", "GET", 200, 250*time.Millisecond)
	r.Answered("WEB.example.com:8443", "GET", 200, 250*time.Millisecond)
	r.Answered("[2001:db8::1]:80", "POST", 502, time.Second)
	r.Answered("[2001:db8::1]", "POST", 502, time.Second)
	r.Answered("web.example.com", "get", 200, time.Second)
	r.Answered("web.example.com", "FROBNICATE", 200, time.Second)
	r.Answered("web.example.com", "GET", 101, time.Hour)
	r.Answered("web.example.com", "GET", 999, time.Second)
	m.AddRequests("other").Answered("", "HEAD", 404, 0)
	const total, sum, count = "http_dataplane_requests_total", "http_dataplane_request_duration_seconds_sum", "http_dataplane_request_duration_seconds_count"
	want := map[string]string{}
	for labels, values := range map[string][3]string{
		`{code="200",host="web.example.com",method="GET",tunnel="web"}`:   {"2", "0.5", "2"},
		`{code="502",host="[2001:db8::1]",method="POST",tunnel="web"}`:    {"2", "2", "2"},
		`{code="200",host="web.example.com",method="other",tunnel="web"}`: {"2", "2", "2"},
		`{code="101",host="web.example.com",method="GET",tunnel="web"}`:   {"1", "0", "0"},
		`{code="other",host="web.example.com",method="GET",tunnel="web"}`: {"1", "1", "1"},
		`{code="404",host="",method="HEAD",tunnel="other"}`:               {"1", "0", "1"},
	} {
		want[total+labels], want[sum+labels], want[count+labels] = values[0], values[1], values[2]
	}
	if diff := cmp.Diff(want, requestValues(t, m, "http_")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if others := requestValues(t, m, "proxy_"); len(others) > 0 {
		t.Errorf("nobody asked for %v", others)
	}
}

func TestNothingIsSaidOfRequestsWhereNobodyLooksIntoThem(t *testing.T) {
	t.Parallel()
	m := New(Options{PrometheusTunnel: true})
	defer m.Close()
	m.AddTunnel(Tunnel{Name: "web"})
	_, body := get(t, m.Prometheus(), "GET", "/metrics")
	for _, name := range []string{"http_dataplane", "proxy_"} {
		if strings.Contains(body, name) {
			t.Errorf("there is a %s", name)
		}
	}
}

// Whoever may send requests chooses host and method, and the code in part.
func TestRequestsOfManyKindsTakeLittle(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel") // three hosts at most
	r := m.AddRequests("web")
	r.Answered(strings.Repeat("h", 10_000), "GET", 200, 0)
	r.Answered("\xff\"\n", "GET", 200, 0)
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			for j := range 500 {
				r.Answered(fmt.Sprintf("h%d.example.com", j), fmt.Sprintf("M%d", i), 200+i, 0)
			}
		})
	}
	all.Wait()
	for code := 100; code < 600; code++ {
		for _, method := range methods {
			r.Answered("h0.example.com", method, code, 0)
		}
	}
	hosts, series, requests := map[string]int{}, 0, 0
	for name, value := range requestValues(t, m, "http_dataplane_requests_total") {
		_, host, _ := strings.Cut(name, `host="`)
		host, _, _ = strings.Cut(host, `",method`)
		var n int
		if _, err := fmt.Sscan(value, &n); err != nil {
			t.Fatal(err)
		}
		requests += n
		hosts[host] += n
		if host != other {
			series++
		}
	}
	if len(hosts) != 4 || hosts[strings.Repeat("h", 256)+"…"] != 1 || hosts["\ufffd\\\"\\n"] != 1 {
		t.Errorf("hosts %v", hosts)
	}
	if series > 3*combinationsPerHost {
		t.Errorf("%d series beside those of %s", series, other)
	}
	if want := 2 + 10*500 + 500*len(methods); requests != want {
		t.Errorf("%d requests are counted, want %d", requests, want)
	}
}

func TestRequestsHaveTheNamesOfPrometheusTunnelToo(t *testing.T) {
	t.Parallel()
	m := New(Options{Prefix: "ghostunnel", MaxIdentities: 3, PrometheusTunnel: true})
	defer m.Close()
	r := m.AddRequests("front")
	m.AddRequests("another")
	if m.AddRequests("front") != r {
		t.Error("a tunnel that comes again begins anew")
	}
	before := requestValues(t, m, "proxy_")
	for _, zero := range []string{
		`proxy_total_requests{tunnel="front"}`,
		`proxy_request_duration_seconds_count{tunnel="front"}`,
		`proxy_response_status_total{status="200",tunnel="front"}`,
		`proxy_response_status_total{status="502",tunnel="another"}`,
	} {
		if before[zero] != "0" {
			t.Errorf("%s is %q at the start, want 0", zero, before[zero])
		}
	}
	r.Answered("a", "GET", 200, 250*time.Millisecond)
	r.Answered("b", "POST", 200, 250*time.Millisecond)
	r.Answered("b", "POST", 418, time.Second)
	r.Answered("b", "GET", 101, time.Hour)
	want := map[string]string{
		`proxy_total_requests{tunnel="front"}`:                     "4",
		`proxy_request_duration_seconds_count{tunnel="front"}`:     "3",
		`proxy_request_duration_seconds_sum{tunnel="front"}`:       "1.5",
		`proxy_response_status_total{status="200",tunnel="front"}`: "2",
		`proxy_response_status_total{status="418",tunnel="front"}`: "1",
		`proxy_response_status_total{status="101",tunnel="front"}`: "1",
	}
	if diff := cmp.Diff(want, moved(before, requestValues(t, m, "proxy_"))); diff != "" {
		t.Errorf("-want +moved:\n%s", diff)
	}
	if len(requestValues(t, m, "http_dataplane_requests_total")) == 0 {
		t.Error("the names of Sallyport's own are gone")
	}
}

func TestRequestsOfATunnelThatIsGoneAreToldNoMore(t *testing.T) {
	t.Parallel()
	m := New(Options{MaxIdentities: 3, PrometheusTunnel: true})
	defer m.Close()
	for _, name := range []string{"stays", "goes"} {
		m.AddTunnel(Tunnel{Name: name})
		m.AddRequests(name).Answered("a", "GET", 200, time.Second)
	}
	of := func(tunnel string) (lines int) {
		_, body := get(t, m.Prometheus(), "GET", "/metrics")
		return strings.Count(body, `tunnel="`+tunnel+`"`)
	}
	if of("goes") != of("stays") || of("goes") == 0 {
		t.Errorf("%d lines of one, and %d of the other", of("goes"), of("stays"))
	}
	before := of("stays")
	m.RemoveTunnel("goes")
	if of("goes") != 0 || of("stays") != before {
		t.Errorf("%d lines of the tunnel that is gone, and %d of the other, which had %d", of("goes"), of("stays"), before)
	}
	m.AddTunnel(Tunnel{Name: "goes"})
	m.AddRequests("goes").Answered("a", "GET", 200, time.Second)
	if got := requestValues(t, m, "proxy_total_requests")[`proxy_total_requests{tunnel="goes"}`]; got != "1" {
		t.Errorf("one that comes back has answered %s requests", got)
	}
}

// Prometheus asks for OpenMetrics, in which a counter's name ends in _total.
func TestNamesOfPrometheusTunnelAreTheSameInOpenMetrics(t *testing.T) {
	t.Parallel()
	m := New(Options{PrometheusTunnel: true})
	defer m.Close()
	m.AddRequests("front").Answered("a", http.MethodGet, 200, time.Second)
	_, body := get(t, m.Prometheus(), "GET", "/metrics", "Accept", "application/openmetrics-text;version=1.0.0")
	for _, want := range []string{
		`proxy_total_requests{tunnel="front"} 1`,
		`proxy_response_status_total{status="200",tunnel="front"} 1`,
		`proxy_request_duration_seconds_count{tunnel="front"} 1`,
	} {
		if !slices.Contains(slices.Collect(strings.Lines(body)), want+".0\n") && !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
}

func TestPromlintFindsNothingInTheFamiliesOfRequests(t *testing.T) {
	t.Parallel()
	m := newMetrics(t, "ghostunnel")
	m.AddRequests("web").Answered("a", "GET", 200, time.Second)
	families, err := m.own.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %+v", err, problems)
	}
}

// BenchmarkRequest is what taking down a request costs.
func BenchmarkRequest(b *testing.B) {
	m := New(Options{MaxIdentities: 100})
	defer m.Close()
	r := m.AddRequests("web")
	b.ReportAllocs()
	for b.Loop() {
		r.Answered("web.example.com:8443", "GET", 200, time.Millisecond)
	}
}

// FuzzAnswered has whatever a client asks for counted once, under labels that a scraper
// can read.
func FuzzAnswered(f *testing.F) {
	f.Add("web.example.com:8443", "GET", 200)
	f.Add("[::1]:80", "get", 0)
	f.Add("\xff:\"\n", "", 1000)
	f.Fuzz(func(t *testing.T, host, method string, code int) {
		m := &Metrics{own: prometheus.NewRegistry(), maxIdentities: 1, requests: make(map[string]*Requests)} // without all that fuzzing does not change
		r := m.AddRequests("web")
		r.Answered(host, method, code, time.Second)
		r.Answered(host, method, code, time.Second)
		families, err := m.own.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() != "http_dataplane_requests_total" {
				continue
			}
			if n := family.GetMetric()[0].GetCounter().GetValue(); len(family.GetMetric()) != 1 || n != 2 {
				t.Errorf("%d series, the first of %v", len(family.GetMetric()), n)
			}
			for _, pair := range family.GetMetric()[0].GetLabel() {
				if !utf8.ValidString(pair.GetValue()) || len(pair.GetValue()) > 3*peertext.Limit+len("…") {
					t.Errorf("%s is %q", pair.GetName(), pair.GetValue())
				}
			}
		}
	})
}
