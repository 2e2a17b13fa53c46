// Package metrics counts what happens to connections, in two vocabularies: under
// the names that Ghostunnel's dashboards and alerts know, and in families of
// Sallyport's own, which have base units and labels. It shows the counts over
// HTTP and sends them to where they are wanted.
//
// A [Recorder] has one method for each thing that can happen to a connection,
// with arguments of the standard library alone, so that a proxy can call them
// without knowing this package. Each is called once and serves both:
//
//	m := metrics.New(metrics.Options{Prefix: "ghostunnel", MaxIdentities: 100})
//	defer m.Close()
//	r := m.AddTunnel(metrics.Tunnel{Name: "web", Counts: server.Counts, Bytes: server.Bytes})
//	observer := proxy.Observer{Accepted: r.Accepted, Closed: r.Closed} // and the rest
//	mux.Handle("/_metrics", m.Handler())
//	mux.Handle("/metrics", m.Prometheus())
//	go m.Graphite(ctx, metrics.Graphite{Dial: dial, Every: 30 * time.Second})
//
// What is counted over all tunnels, each name behind the prefix and a dot:
//
//	accept.total    connections that came in
//	accept.success  those that were forwarded
//	accept.error    those that failed before: accept, handshake, authorization, dial
//	accept.timeout  those whose handshake took too long (they are errors too)
//	conn.open       connections in hand at this moment
//	conn.timeout    connections that a deadline ended while they were forwarded
//	conn.handshake  timer: how long TLS handshakes took
//	conn.lifetime   timer: how long connections lived, failed ones included
//
// Beside them Prometheus gets to see, for each tunnel:
//
//	sallyport_tunnel_up
//	sallyport_connections_open, _connections_limit, _accepted_total, _draining
//	sallyport_closed_total{reason}, _failures_total{stage,reason}
//	sallyport_connection_duration_seconds
//	sallyport_bytes_total{direction}
//	sallyport_handshake_duration_seconds, _handshake_failures_total{reason}
//	sallyport_tls_connections_total{version,cipher,resumed}
//	sallyport_authorization_denied_total{reason}
//	sallyport_peer_connections_total{identity}
//	sallyport_dial_duration_seconds, _dial_failures_total{target,reason}
//	sallyport_target_up{target}
//	sallyport_target_connections_open{target}, _target_connections_total{target},
//	_target_failures_total{target,reason}, _target_ejected{target}, _target_ejections_total{target}
//	sallyport_route_connections_open{route}, _route_connections_total{route,outcome}
//	sallyport_certificate_not_after_timestamp_seconds{role,subject,serial}, _not_before_…
//	sallyport_crl_next_update_timestamp_seconds{issuer}
//	sallyport_reload_total{result}, _reload_last_success_timestamp_seconds, _reload_pending
//
// of those that look into HTTP, for which there is a [Requests]:
//
//	http_dataplane_requests_total{code,host,method}
//	http_dataplane_request_duration_seconds{code,host,method}
//
// and sallyport_build_info{version,revision,goversion} with client_golang's
// metrics of the Go runtime and of the process.
//
// What a tunnel knows anyway is read when somebody looks, and not written down
// as it changes. The package opens no listener, and keeps nothing by peer but a
// limited number of their names.
package metrics

import (
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options are what a [Metrics] is made of. The zero value is useful.
type Options struct {
	Prefix        string // first part of Ghostunnel's names; "" leaves them bare
	MaxIdentities int    // how many identities of peers are told apart for each tunnel
	Version       string // of the program
	Revision      string // the commit it was built from

	// PrometheusTunnel has HTTP requests counted under the names of prometheus-tunnel
	// too.
	PrometheusTunnel bool
}

// Metrics holds the counters and timers of one process. Make it with [New].
// All its methods are safe for concurrent use.
type Metrics struct {
	prefix        string
	maxIdentities int

	ghostunnel *ghostunnel
	bridge     *bridge

	own      *prometheus.Registry // of the metrics that Ghostunnel does not have
	families *families
	reloads  *reloads

	prometheusTunnel bool

	mu              sync.Mutex
	recorders       []*Recorder
	requests        map[string]*Requests // by tunnel
	requestFamilies *requestFamilies     // nil until a tunnel looks into HTTP
	compat          *compatFamilies      // nil until then, and without PrometheusTunnel
}

// New returns a Metrics in which every counter and timer exists, at zero. The
// caller ends it with [Metrics.Close].
func New(o Options) *Metrics {
	own := prometheus.NewRegistry()
	build := register(own, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sallyport_build_info",
		Help: "The program that runs, as labels; the value is 1.",
	}, []string{"version", "revision", "goversion"}))
	build.WithLabelValues(label(o.Version), label(o.Revision), runtime.Version()).Set(1)
	own.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	g := newGhostunnel()
	m := &Metrics{
		prefix:        o.Prefix,
		maxIdentities: o.MaxIdentities,
		ghostunnel:    g,
		bridge:        newBridge(g.registry, o.Prefix, own),
		own:           own,
		families:      newFamilies(own),
		reloads:       newReloads(own),

		prometheusTunnel: o.PrometheusTunnel,
		requests:         make(map[string]*Requests),
	}
	own.MustRegister(events{m}, states{m}, identities{m})
	return m
}

// Close lets go of what go-metrics keeps for the process. Counts remain
// readable. Close may be called more than once.
func (m *Metrics) Close() {
	m.settle()
	m.ghostunnel.close()
}

// settle counts what has happened so far. Whoever reads does that first.
func (m *Metrics) settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.recorders {
		r.settle()
	}
}
