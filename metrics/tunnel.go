package metrics

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Tunnel is what a tunnel lets be known about itself: its reasons at once, so
// that each is counted from the start, and what the functions return at each
// scrape. They may be nil, and are called by several goroutines at once.
type Tunnel struct {
	Name   string // unique
	Target string // where it forwards to, as it was configured
	Limit  int    // how many connections it takes at once; 0 is any number

	Failures map[string][]string // why connections come to nothing, by the stage
	Ends     []string            // why connections end, failures included
	Denials  []string            // which of those are that the peer was refused

	Counts   func() (open, total int64) // connections in hand, and accepted so far
	Bytes    func() (in, out int64)     // that target and client were sent so far
	Draining func() bool                // no more are accepted
	Pending  func() bool                // its files hold something else than what is in use

	// TargetUp is what is known of the target without asking it.
	TargetUp func() (up, known bool)

	Routes []Route // what its connections go by; none: they all go one way

	Certificates func() []Certificate // in use now
	CRLs         func() []CRL         // in use now
}

// Route is a way on which a tunnel sends some of its connections.
type Route struct {
	Name string // unique in the tunnel

	// Counts returns how many connections are forwarded on it now, how many were so
	// far, and how many came to nothing.
	Counts func() (open, total, failed int64)
}

// AddTunnel has the metrics tell of a tunnel that has loaded all it needs, and
// returns what takes down what becomes of its connections. It is called once
// for each name.
func (m *Metrics) AddTunnel(t Tunnel) *Recorder {
	m.reloads.add(t.Name, time.Now())
	m.own.MustRegister(identities{t}, states{t})
	r := newRecorder(m.newTally(&t))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recorders = append(m.recorders, r)
	return r
}

var (
	descOpen     = tunnelDesc("sallyport_connections_open", "Connections in hand, those in a handshake included.")
	descAccepted = tunnelDesc("sallyport_accepted_total", "Connections that were accepted.")
	descLimit    = tunnelDesc("sallyport_connections_limit", "How many connections may be in hand at once; +Inf is any number.")
	descBytes    = tunnelDesc("sallyport_bytes_total",
		"Bytes that were forwarded: in is to the target, out is to the client; it moves while connections live.", "direction")
	descTargetUp = tunnelDesc("sallyport_target_up",
		"Whether the target was up when the status port was last asked for its health; left out when that is long ago.", "target")
	descRouteOpen  = tunnelDesc("sallyport_route_connections_open", "Connections that are forwarded by the route now.", "route")
	descRouteTotal = tunnelDesc("sallyport_route_connections_total",
		"Connections that asked for a name of the route: forwarded, or failed before that.", "route", "outcome")
	descPending = tunnelDesc("sallyport_reload_pending",
		"1 while the files of identity, trust, lists and policy hold something else than what is in use.")
	descDraining = tunnelDesc("sallyport_draining", "1 when no more connections are accepted and the open ones are waited for.")
)

func tunnelDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"tunnel"}, labels...), nil)
}

// states collects how a tunnel stands. It asks at each scrape, so that what
// moves all the time is not written down each time.
type states struct{ tunnel Tunnel }

// Describe sends nothing, which makes the collector unchecked: each tunnel has
// one, and all of them tell of the same metrics.
func (states) Describe(chan<- *prometheus.Desc) {}

// Collect sends how the tunnel stands now.
func (s states) Collect(out chan<- prometheus.Metric) {
	name := label(s.tunnel.Name)
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, kind, value, append([]string{name}, labels...)...)
	}
	if s.tunnel.Counts != nil {
		open, total := s.tunnel.Counts()
		send(descOpen, prometheus.GaugeValue, float64(open))
		send(descAccepted, prometheus.CounterValue, float64(total))
	}
	if s.tunnel.Bytes != nil {
		toTarget, toClient := s.tunnel.Bytes()
		send(descBytes, prometheus.CounterValue, float64(toTarget), "in")
		send(descBytes, prometheus.CounterValue, float64(toClient), "out")
	}
	if s.tunnel.Draining != nil {
		send(descDraining, prometheus.GaugeValue, truth(s.tunnel.Draining()))
	}
	if s.tunnel.Pending != nil {
		send(descPending, prometheus.GaugeValue, truth(s.tunnel.Pending()))
	}
	if s.tunnel.TargetUp != nil {
		if up, known := s.tunnel.TargetUp(); known {
			send(descTargetUp, prometheus.GaugeValue, truth(up), label(s.tunnel.Target))
		}
	}
	for _, route := range s.tunnel.Routes {
		open, total, failed := route.Counts()
		send(descRouteOpen, prometheus.GaugeValue, float64(open), label(route.Name))
		send(descRouteTotal, prometheus.CounterValue, float64(total), label(route.Name), "forwarded")
		send(descRouteTotal, prometheus.CounterValue, float64(failed), label(route.Name), "failed")
	}
	limit := math.Inf(1)
	if s.tunnel.Limit > 0 {
		limit = float64(s.tunnel.Limit)
	}
	send(descLimit, prometheus.GaugeValue, limit)
}

// truth is a yes or no as Prometheus has it.
func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
