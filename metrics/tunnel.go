package metrics

import (
	"math"
	"slices"
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

	Up       func() bool                // connections are accepted; nil: they are not
	Counts   func() (open, total int64) // connections in hand, and accepted so far
	Bytes    func() (in, out int64)     // that target and client were sent so far
	Draining func() bool                // no more are accepted
	Pending  func() bool                // its files hold something else than what is in use

	// TargetUp is what is known of the target without asking it. It may be nil where
	// Targets is not.
	TargetUp func() (up, known bool)

	// Targets are those that connections are spread over, and those of routes,
	// each name once.
	Targets func() []Target

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

// Target is one of several targets of a tunnel, as it is now.
type Target struct {
	Name      string
	Alone     bool             // it is the only one of its route: nothing beside its health is told
	Up, Known bool             // whether it is up, if that is known
	Ejected   bool             // connecting to it failed a moment ago
	Open      int              // connections in hand
	Total     int64            // connections that were made
	Failures  map[string]int64 // those that could not be made, by the reason
	Ejections int64            // how often it was ejected
}

// AddTunnel has the metrics tell of a tunnel that has loaded all it needs, and
// returns what takes down what becomes of its connections. Of a tunnel that is
// there already, by its name, it tells from now on what t says, and what has been
// counted goes on.
func (m *Metrics) AddTunnel(t Tunnel) *Recorder {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.recorders {
		if r.told.Load().Name == t.Name {
			r.become(t)
			return r
		}
	}
	m.reloads.add(t.Name, time.Now())
	r := newRecorder(m.newTally(&t), t)
	m.recorders = append(m.recorders, r)
	return r
}

// RemoveTunnel has the metrics tell no more of a tunnel, whose connections have
// all ended. What it was counted for over all tunnels stays.
func (m *Metrics) RemoveTunnel(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := func(r *Recorder) bool { return r.told.Load().Name == name }
	for _, r := range m.recorders {
		if gone(r) {
			r.settle()
		}
	}
	m.recorders = slices.DeleteFunc(slices.Clone(m.recorders), gone)
	of := prometheus.Labels{"tunnel": label(name)}
	m.families.remove(of)
	m.reloads.remove(of)
	m.removeRequestsLocked(name)
}

// each calls tell for all that are told of.
func (m *Metrics) each(tell func(*Recorder)) {
	m.mu.Lock()
	recorders := m.recorders
	m.mu.Unlock()
	for _, r := range recorders {
		tell(r)
	}
}

// events collects what was counted by its reason.
type events struct{ metrics *Metrics }

// Describe sends all there can be.
func (events) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{descFailures, descHandshakeFailures, descDialFailures, descDenials, descEnds, descSessions} {
		out <- desc
	}
}

// Collect sends what was counted so far.
func (e events) Collect(out chan<- prometheus.Metric) {
	e.metrics.each(func(r *Recorder) { r.tally.collect(out, r.told.Load()) })
}

var (
	descUp       = tunnelDesc("sallyport_tunnel_up", "1 while the tunnel accepts connections; 0 while it cannot be started, or drains.")
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
	descTargetOpen = tunnelDesc("sallyport_target_connections_open",
		"Connections to one of several targets, those that are being made included.", "target")
	descTargetTotal = tunnelDesc("sallyport_target_connections_total",
		"Connections that were made to one of several targets.", "target")
	descTargetFailures = tunnelDesc("sallyport_target_failures_total",
		"Connections that could not be made to one of several targets, whether or not another one took them, by the reason.", "target", "reason")
	descTargetEjected = tunnelDesc("sallyport_target_ejected",
		"1 while one of several targets gets no connections because it failed a moment ago.", "target")
	descTargetEjections = tunnelDesc("sallyport_target_ejections_total",
		"How often one of several targets was ejected.", "target")
	descPending = tunnelDesc("sallyport_reload_pending",
		"1 while the files of identity, trust, lists and policy hold something else than what is in use.")
	descDraining = tunnelDesc("sallyport_draining", "1 when no more connections are accepted and the open ones are waited for.")
)

func tunnelDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"tunnel"}, labels...), nil)
}

// states collects how the tunnels stand. It asks at each scrape, so that what
// moves all the time is not written down each time.
type states struct{ metrics *Metrics }

// Describe sends nothing, which makes the collector unchecked: which of the
// metrics there are depends on what is known.
func (states) Describe(chan<- *prometheus.Desc) {}

// Collect sends how the tunnels stand now.
func (s states) Collect(out chan<- prometheus.Metric) {
	s.metrics.each(func(r *Recorder) { r.told.Load().collect(out) })
}

// collect sends how the tunnel stands now.
func (t *Tunnel) collect(out chan<- prometheus.Metric) {
	name := label(t.Name)
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, kind, value, append([]string{name}, labels...)...)
	}
	send(descUp, prometheus.GaugeValue, truth(t.Up != nil && t.Up()))
	if t.Counts != nil {
		open, total := t.Counts()
		send(descOpen, prometheus.GaugeValue, float64(open))
		send(descAccepted, prometheus.CounterValue, float64(total))
	}
	if t.Bytes != nil {
		toTarget, toClient := t.Bytes()
		send(descBytes, prometheus.CounterValue, float64(toTarget), "in")
		send(descBytes, prometheus.CounterValue, float64(toClient), "out")
	}
	if t.Draining != nil {
		send(descDraining, prometheus.GaugeValue, truth(t.Draining()))
	}
	if t.Pending != nil {
		send(descPending, prometheus.GaugeValue, truth(t.Pending()))
	}
	if t.TargetUp != nil {
		if up, known := t.TargetUp(); known {
			send(descTargetUp, prometheus.GaugeValue, truth(up), label(t.Target))
		}
	}
	for _, route := range t.Routes {
		open, total, failed := route.Counts()
		send(descRouteOpen, prometheus.GaugeValue, float64(open), label(route.Name))
		send(descRouteTotal, prometheus.CounterValue, float64(total), label(route.Name), "forwarded")
		send(descRouteTotal, prometheus.CounterValue, float64(failed), label(route.Name), "failed")
	}
	if t.Targets != nil {
		for _, target := range t.Targets() {
			target.collect(send)
		}
	}
	limit := math.Inf(1)
	if t.Limit > 0 {
		limit = float64(t.Limit)
	}
	send(descLimit, prometheus.GaugeValue, limit)
}

// collect sends how the target stands now.
func (t *Target) collect(send func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string)) {
	name := label(t.Name)
	if t.Known {
		send(descTargetUp, prometheus.GaugeValue, truth(t.Up), name)
	}
	if t.Alone {
		return
	}
	send(descTargetOpen, prometheus.GaugeValue, float64(t.Open), name)
	send(descTargetTotal, prometheus.CounterValue, float64(t.Total), name)
	for reason, n := range t.Failures {
		send(descTargetFailures, prometheus.CounterValue, float64(n), name, label(reason))
	}
	send(descTargetEjected, prometheus.GaugeValue, truth(t.Ejected), name)
	send(descTargetEjections, prometheus.CounterValue, float64(t.Ejections), name)
}

// truth is a yes or no as Prometheus has it.
func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
