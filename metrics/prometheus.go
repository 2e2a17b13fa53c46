package metrics

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	prometheusmetrics "github.com/deathowl/go-metrics-prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	gometrics "github.com/rcrowley/go-metrics"
)

// Prometheus returns a handler that answers in the Prometheus text format, or
// in OpenMetrics when the request's Accept header asks for it. Names have "_"
// for "."; everything is a gauge, a timer being eleven of them (_count, _sum,
// _min, _max, _mean, _std_dev, _variance, _rate1, _rate5, _rate15, _rate_mean,
// in nanoseconds and per second) and a histogram, _timer, in which "buckets"
// are quantiles and their "counts" nanoseconds: odd, and what existing
// dashboards read. The metrics of Sallyport's own stand beside them.
func (m *Metrics) Prometheus() http.Handler {
	return readOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.settle()
		m.bridge.ServeHTTP(w, r)
	}))
}

// A bridge copies a go-metrics registry into a Prometheus registry of its own
// when it is scraped, and only then: there is no ticker to stop, and a scrape
// is never out of date.
type bridge struct {
	// mu is held while copying, because the provider keeps its gauges in a
	// plain map.
	mu       sync.Mutex
	provider *prometheusmetrics.PrometheusConfig

	exposition http.Handler
}

// newBridge copies source, and shows own beside it.
func newBridge(source gometrics.Registry, prefix string, own prometheus.Gatherer) *bridge {
	registry := prometheus.NewRegistry()
	// The provider flushes at an interval only when asked to, so it gets none.
	const noSubsystem, noInterval = "", 0
	return &bridge{
		provider:   prometheusmetrics.NewPrometheusProvider(source, namespace(prefix), noSubsystem, registry, noInterval),
		exposition: promhttp.HandlerFor(prometheus.Gatherers{registry, own}, promhttp.HandlerOpts{EnableOpenMetrics: true}),
	}
}

// ServeHTTP answers a scrape, with 500 if the numbers cannot be had.
func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := b.update(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b.exposition.ServeHTTP(w, r)
}

// update copies every number once. The provider and go-metrics answer some
// states of a registry with a panic; a scrape must survive that, and the next
// one must find the lock free.
func (b *bridge) update() (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("reading the metrics: %v", cause)
		}
	}()
	return b.provider.UpdatePrometheusMetricsOnce()
}

// namespace makes a prefix fit for the start of a Prometheus metric name: "_"
// stands for each character that cannot be in one, and goes before a leading
// digit. The provider replaces some of them itself, and silently loses metrics
// over others.
func namespace(prefix string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == ':':
			return r
		}
		return '_'
	}, prefix)
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		return "_" + name
	}
	return name
}
