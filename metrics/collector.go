package metrics

import "github.com/prometheus/client_golang/prometheus"

// AddCollector has scrapes tell of what c collects, too. Its names must not be
// those of metrics that are there.
func (m *Metrics) AddCollector(c prometheus.Collector) { m.own.MustRegister(c) }
