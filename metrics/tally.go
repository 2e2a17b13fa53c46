package metrics

import (
	"crypto/tls"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// The stages that metrics of their own are about.
const (
	stageHandshake = "handshake"
	stageDial      = "dial"
)

// tally counts what became of the connections of one tunnel, in both
// vocabularies.
type tally struct {
	ghostunnel *ghostunnel
	denying    []string // the reasons for which a peer may be refused

	handshakes, lifetimes, dials prometheus.Observer

	failures                                       *sums[failure]
	handshakeFailures, dialFailures, denials, ends *sums[string] // by reason
	sessions                                       *sums[session]
	peers                                          *peers
}

var (
	descFailures = tunnelDesc("sallyport_failures_total",
		"Connections that came to nothing, by how far they got and why.", "stage", "reason")
	descHandshakeFailures = tunnelDesc("sallyport_handshake_failures_total",
		"TLS handshakes that failed, by the reason.", "reason")
	descDialFailures = tunnelDesc("sallyport_dial_failures_total",
		"Failures to connect to the target, by the reason.", "target", "reason")
	descDenials = tunnelDesc("sallyport_authorization_denied_total",
		"Connections whose peer was refused, by the reason.", "reason")
	descEnds = tunnelDesc("sallyport_closed_total",
		"Connections that ended, by the reason; those that failed included.", "reason")
	descSessions = tunnelDesc("sallyport_tls_connections_total",
		"TLS handshakes that succeeded, by what was agreed on.", "version", "cipher", "resumed")
)

// failure is what is told apart of connections that came to nothing.
type failure struct{ stage, reason string }

func (f failure) labels() []string { return []string{f.stage, f.reason} }

// session is what is told apart of TLS sessions. The zero value is none.
type session struct {
	version, cipher uint16
	resumed         bool
}

func (s session) labels() []string {
	return []string{tls.VersionName(s.version), tls.CipherSuiteName(s.cipher), strconv.FormatBool(s.resumed)}
}

func (m *Metrics) newTally(t *Tunnel) *tally {
	tunnel := prometheus.Labels{"tunnel": label(t.Name)}
	f := m.families
	r := &tally{
		ghostunnel:        m.ghostunnel,
		handshakes:        f.handshakes.With(tunnel),
		lifetimes:         f.lifetimes.With(tunnel),
		dials:             f.dials.With(tunnel),
		failures:          newSums(descFailures, failure.labels),
		handshakeFailures: byReason(descHandshakeFailures),
		dialFailures:      byReason(descDialFailures),
		denials:           byReason(descDenials),
		ends:              byReason(descEnds),
		sessions:          newSums(descSessions, session.labels),
		peers:             newPeers(f.peers.MustCurryWith(tunnel), m.maxIdentities),
	}
	r.expect(t)
	return r
}

// expect has all reasons that are known exist, at zero at first, so that the first of
// a kind is seen as an increase.
func (t *tally) expect(of *Tunnel) {
	t.denying = of.Denials
	for stage, reasons := range of.Failures {
		for _, reason := range reasons {
			t.failure(stage, reason, 0)
		}
	}
	for _, reason := range of.Denials {
		t.denials.add(label(reason), 0)
	}
	for _, reason := range of.Ends {
		t.ends.add(label(reason), 0)
	}
}

// collect sends what was counted by its reason.
func (t *tally) collect(out chan<- prometheus.Metric, of *Tunnel) {
	tunnel := label(of.Name)
	t.failures.collect(out, tunnel)
	t.handshakeFailures.collect(out, tunnel)
	t.dialFailures.collect(out, tunnel, label(of.Target))
	t.denials.collect(out, tunnel)
	t.ends.collect(out, tunnel)
	t.sessions.collect(out, tunnel)
}

// count takes an event into account.
func (t *tally) count(e *event) {
	switch e.kind {
	case accepted:
		t.ghostunnel.accepted()
	case failed:
		t.ghostunnel.failed(e.stage, e.text)
		t.failure(e.stage, e.text, 1)
		if slices.Contains(t.denying, e.text) {
			t.denials.add(label(e.text), 1)
		}
	case shaken:
		t.ghostunnel.handshake(e.took)
		t.handshakes.Observe(e.took.Seconds())
		if e.session != (session{}) {
			t.sessions.add(e.session, 1)
		}
	case dialled:
		t.dials.Observe(e.took.Seconds())
	case opened:
		t.ghostunnel.opened()
		t.peers.add(e.text)
	case closed:
		t.ghostunnel.closed(e.took, e.text)
		t.lifetimes.Observe(e.took.Seconds())
		t.ends.add(label(e.text), 1)
	}
}

// failure counts so many failures; none has the counters exist.
func (t *tally) failure(stage, reason string, n uint64) {
	stage, reason = label(stage), label(reason)
	t.failures.add(failure{stage, reason}, n)
	switch stage {
	case stageHandshake:
		t.handshakeFailures.add(reason, n)
	case stageDial:
		t.dialFailures.add(reason, n)
	}
}
