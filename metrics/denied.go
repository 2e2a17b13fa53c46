package metrics

import "github.com/prometheus/client_golang/prometheus"

func newDenials(registry prometheus.Registerer) *prometheus.CounterVec {
	denials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_authorization_denied_total",
		Help: "Connections whose peer was refused, by the reason.",
	}, []string{"tunnel", "reason"})
	registry.MustRegister(denials)
	return denials
}

// Denied records that a tunnel refused a peer for a reason. It is called beside
// [Metrics.Failed]. Each combination is kept, so reasons must be few: those that
// the [Tunnel] was added with, which are there at zero before that.
func (m *Metrics) Denied(tunnel, reason string) {
	m.denials.WithLabelValues(tunnel, reason).Inc()
}
