package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The results of a reload.
const (
	resultSuccess = "success"
	resultFailure = "failure"
)

// reloads counts how reloads end.
type reloads struct {
	total       *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
}

func newReloads(registry prometheus.Registerer) *reloads {
	r := &reloads{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_reload_total",
			Help: "Reloads of identity, trust and revocation lists, by how they ended.",
		}, []string{"tunnel", "result"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_reload_last_success_timestamp_seconds",
			Help: "When identity, trust and revocation lists were last loaded without a fault; the start counts.",
		}, []string{"tunnel"}),
	}
	registry.MustRegister(r.total, r.lastSuccess)
	return r
}

// add has a tunnel's numbers exist before its first reload. What it loaded at
// its start is as fresh as after a reload.
func (r *reloads) add(tunnel string, now time.Time) {
	r.total.WithLabelValues(label(tunnel), resultSuccess)
	r.total.WithLabelValues(label(tunnel), resultFailure)
	r.lastSuccess.WithLabelValues(label(tunnel)).Set(seconds(now))
}

// remove ends what has these labels.
func (r *reloads) remove(labels prometheus.Labels) {
	r.total.DeletePartialMatch(labels)
	r.lastSuccess.DeletePartialMatch(labels)
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

// AddReloads has the metrics tell of reloads of what belongs to no tunnel; its
// name, like the tunnel's, is what Reloaded is told.
func (m *Metrics) AddReloads(name string) { m.reloads.add(name, time.Now()) }

// Reloaded records how a reload of a tunnel ended.
func (m *Metrics) Reloaded(tunnel string, err error) {
	if err != nil {
		m.reloads.total.WithLabelValues(label(tunnel), resultFailure).Inc()
		return
	}
	m.reloads.total.WithLabelValues(label(tunnel), resultSuccess).Inc()
	m.reloads.lastSuccess.WithLabelValues(label(tunnel)).Set(seconds(time.Now()))
}
