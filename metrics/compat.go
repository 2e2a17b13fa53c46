package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// compatFamilies are HTTP requests under the names that the dashboards and alerts of
// prometheus-tunnel know. They stand beside those of [Requests].
type compatFamilies struct {
	status *prometheus.CounterVec
	took   *prometheus.HistogramVec
}

func newCompatFamilies(registry prometheus.Registerer) *compatFamilies {
	return &compatFamilies{
		status: register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "proxy_response_status_total",
			Help: "HTTP requests that were answered, by the status code.",
		}, []string{"tunnel", "status"})),
		took: register(registry, newDurations("proxy_request_duration_seconds",
			"How long HTTP requests took from their header to the end of the answer, but for those that left HTTP (101).", quick, "tunnel")),
	}
}

// compatRequests are those of one tunnel.
type compatRequests struct {
	total  atomic.Uint64
	status *counters[int]
	took   prometheus.Observer
	told   prometheus.Collector // of total
}

// add makes those of a tunnel. The name proxy_total_requests does not end as those of
// counters do, which OpenMetrics would mend: a Prometheus that asks for it would get to
// see proxy_total_requests_total. So it is of no type, which is the same to rate().
func (f *compatFamilies) add(registry prometheus.Registerer, tunnel string) *compatRequests {
	r := &compatRequests{
		status: newCounters(f.status.MustCurryWith(prometheus.Labels{"tunnel": tunnel}), func(code int) []string {
			return []string{codeLabel(code)}
		}),
		took: f.took.WithLabelValues(tunnel),
	}
	r.told = register(registry, prometheus.NewUntypedFunc(prometheus.UntypedOpts{
		Name:        "proxy_total_requests",
		Help:        "HTTP requests that were answered.",
		ConstLabels: prometheus.Labels{"tunnel": tunnel},
	}, func() float64 { return float64(r.total.Load()) }))
	for _, code := range []int{200, 500, 502, 504} { // an increase from nothing would not be seen as one
		r.status.of(code)
	}
	return r
}

// remove ends those of a tunnel, which have these labels.
func (f *compatFamilies) remove(registry prometheus.Registerer, r *compatRequests, of prometheus.Labels) {
	registry.Unregister(r.told)
	f.status.DeletePartialMatch(of)
	f.took.DeletePartialMatch(of)
}

func (r *compatRequests) answered(code int, took time.Duration) {
	r.total.Add(1)
	r.status.of(code).Inc()
	if code != switchingProtocols {
		r.took.Observe(took.Seconds())
	}
}
