// Package metrics counts what happens to connections, under the names that
// Ghostunnel's dashboards and alerts know, and shows the counts over HTTP.
//
// A [Metrics] has one method for each thing that can happen to a connection.
// They take nothing but durations and words, so a proxy can call them without
// knowing this package:
//
//	m := metrics.New("ghostunnel")
//	defer m.Close()
//	observer := proxy.Observer{Accepted: m.Accepted, Closed: m.Closed} // and the rest
//	mux.Handle("/_metrics", m.Handler())
//	mux.Handle("/_metrics/prometheus", m.Prometheus())
//
// What is counted, each name behind the prefix and a dot:
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
// Beside them there are metrics of Sallyport's own, with base units and labels,
// which Prometheus alone gets to see:
//
//	sallyport_authorization_denied_total{tunnel,reason}
//	sallyport_certificate_not_after_timestamp_seconds{tunnel,role,subject,serial}
//	sallyport_crl_next_update_timestamp_seconds{tunnel,issuer}
//	sallyport_reload_total{tunnel,result}
//	sallyport_reload_last_success_timestamp_seconds{tunnel}
//
// The package opens no listener, sends nothing by itself, and keeps nothing by
// peer.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	gometrics "github.com/rcrowley/go-metrics"
)

// Metrics holds the counters and timers of one process. Make it with [New].
// All its methods are safe for concurrent use.
type Metrics struct {
	prefix   string
	registry gometrics.Registry

	acceptTotal   gometrics.Counter
	acceptSuccess gometrics.Counter
	acceptError   gometrics.Counter
	acceptTimeout gometrics.Counter
	connOpen      gometrics.Counter
	connTimeout   gometrics.Counter
	connHandshake gometrics.Timer
	connLifetime  gometrics.Timer

	bridge *bridge

	own     *prometheus.Registry // of the metrics that Ghostunnel does not have
	denials *prometheus.CounterVec
	reloads *reloads
}

// New returns a Metrics in which every counter and timer exists, at zero. The
// prefix is the first part of every name; an empty one leaves names bare. The
// caller ends it with [Metrics.Close].
func New(prefix string) *Metrics {
	r := gometrics.NewRegistry()
	own := prometheus.NewRegistry()
	return &Metrics{
		prefix:        prefix,
		registry:      r,
		acceptTotal:   gometrics.NewRegisteredCounter("accept.total", r),
		acceptSuccess: gometrics.NewRegisteredCounter("accept.success", r),
		acceptError:   gometrics.NewRegisteredCounter("accept.error", r),
		acceptTimeout: gometrics.NewRegisteredCounter("accept.timeout", r),
		connOpen:      gometrics.NewRegisteredCounter("conn.open", r),
		connTimeout:   gometrics.NewRegisteredCounter("conn.timeout", r),
		connHandshake: gometrics.NewRegisteredTimer("conn.handshake", r),
		connLifetime:  gometrics.NewRegisteredTimer("conn.lifetime", r),
		bridge:        newBridge(r, prefix, own),
		own:           own,
		denials:       newDenials(own),
		reloads:       newReloads(own),
	}
}

// Close stops the timers' rates: go-metrics keeps each running timer in a list
// of the process, which would hold it for ever. Counts remain readable. Close
// may be called more than once.
func (m *Metrics) Close() {
	m.connHandshake.Stop()
	m.connLifetime.Stop()
}

// Accepted records that a connection came in. [Metrics.Closed] must follow,
// whatever becomes of it.
func (m *Metrics) Accepted() {
	m.acceptTotal.Inc(1)
	m.connOpen.Inc(1)
}

// Failed records that a connection, or the accepting of one, came to nothing
// before it was forwarded. The stage says how far it got (accept, handshake,
// dial, announce) and the reason why it failed; a handshake that failed for
// the reason "timeout" also counts as an accept.timeout.
func (m *Metrics) Failed(stage, reason string) {
	m.acceptError.Inc(1)
	if stage == "handshake" && reason == "timeout" {
		m.acceptTimeout.Inc(1)
	}
}

// Handshake records that a TLS handshake took d, with or without success.
func (m *Metrics) Handshake(d time.Duration) {
	m.connHandshake.Update(d)
}

// Opened records that a connection is being forwarded.
func (m *Metrics) Opened() {
	m.acceptSuccess.Inc(1)
}

// Closed records that a connection which [Metrics.Accepted] announced is gone,
// after the given lifetime, for the given reason. The reasons idle_timeout,
// close_timeout and lifetime are those of a deadline and count as conn.timeout.
func (m *Metrics) Closed(lifetime time.Duration, reason string) {
	m.connOpen.Dec(1)
	m.connLifetime.Update(lifetime)
	switch reason {
	case "idle_timeout", "close_timeout", "lifetime":
		m.connTimeout.Inc(1)
	}
}
