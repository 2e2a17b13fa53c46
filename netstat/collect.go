package netstat

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ephemeral stands for every port that the system chose: there may be as many
// of them as there are connections.
const ephemeral = "ephemeral"

// group is what the labels of the gauge can tell apart.
type group struct{ port, version string }

// Describe implements prometheus.Collector.
func (w *Watch) Describe(out chan<- *prometheus.Desc) {
	out <- w.gauge
	w.failures.Describe(out)
}

// Collect implements prometheus.Collector. It looks at the lists, unless that
// was done a moment ago.
func (w *Watch) Collect(out chan<- prometheus.Metric) {
	defer w.failures.Collect(out) // after the look, which may be one more
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at.IsZero() || time.Since(w.at) > max(fresh, idleShare*w.took) {
		w.scanLists()
	}
	if w.err != nil {
		return
	}
	if w.options.Simple {
		n := 0
		w.long(func(connection, *sighting) { n++ })
		out <- prometheus.MustNewConstMetric(w.gauge, prometheus.GaugeValue, float64(n))
		return
	}
	for g, n := range w.groups() {
		out <- prometheus.MustNewConstMetric(w.gauge, prometheus.GaugeValue, float64(n), g.port, g.version)
	}
}

// groups counts by label. What is asked for by its port, or has somebody who
// listens, is there even without connections.
func (w *Watch) groups() map[group]int {
	groups := make(map[group]int)
	for l := range w.listening {
		if w.counts(l.port) {
			groups[group{portLabel(l.port), version(l.tcp6)}] = 0
		}
	}
	if port := w.options.Port; port != 0 {
		groups[group{portLabel(port), version(false)}] = 0
		if w.options.TCP6 {
			groups[group{portLabel(port), version(true)}] = 0
		}
	}
	w.long(func(c connection, s *sighting) {
		label := ephemeral
		if s.named || w.options.Port != 0 {
			label = portLabel(c.local.Port())
		}
		groups[group{label, version(c.tcp6)}]++
	})
	return groups
}

func portLabel(port uint16) string { return strconv.Itoa(int(port)) }

// version is what netstat(8) calls the two lists.
func version(tcp6 bool) string {
	if tcp6 {
		return "tcp6"
	}
	return "tcp"
}

// Handler returns a handler that answers GET /metrics in the Prometheus text
// format, or in OpenMetrics when asked for that.
func (w *Watch) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(w)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	return mux
}
