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

	failures                                       *counters[failure]
	handshakeFailures, dialFailures, denials, ends *counters[string] // by reason
	sessions                                       *counters[session]
	peers                                          *peers
}

// failure is what is told apart of connections that came to nothing.
type failure struct{ stage, reason string }

func (f failure) labels() []string { return []string{label(f.stage), label(f.reason)} }

// session is what is told apart of TLS sessions. The zero value is none.
type session struct {
	version, cipher uint16
	resumed         bool
}

func (s session) labels() []string {
	return []string{tls.VersionName(s.version), tls.CipherSuiteName(s.cipher), strconv.FormatBool(s.resumed)}
}

// newTally has all reasons that are known exist at zero, so that the first
// of a kind is seen as an increase.
func (m *Metrics) newTally(t *Tunnel) *tally {
	tunnel := prometheus.Labels{"tunnel": label(t.Name)}
	f := m.families
	r := &tally{
		ghostunnel:        m.ghostunnel,
		denying:           t.Denials,
		handshakes:        f.handshakes.With(tunnel),
		lifetimes:         f.lifetimes.With(tunnel),
		dials:             f.dials.With(tunnel),
		failures:          newCounters(f.failures.MustCurryWith(tunnel), failure.labels),
		handshakeFailures: byReason(f.failedHandshakes.MustCurryWith(tunnel)),
		dialFailures:      byReason(f.failedDials.MustCurryWith(prometheus.Labels{"tunnel": label(t.Name), "target": label(t.Target)})),
		denials:           byReason(f.denials.MustCurryWith(tunnel)),
		ends:              byReason(f.ends.MustCurryWith(tunnel)),
		sessions:          newCounters(f.sessions.MustCurryWith(tunnel), session.labels),
		peers:             newPeers(f.peers.MustCurryWith(tunnel), m.maxIdentities),
	}
	for stage, reasons := range t.Failures {
		for _, reason := range reasons {
			r.failure(stage, reason, 0)
		}
	}
	for _, reason := range t.Denials {
		r.denials.of(reason)
	}
	for _, reason := range t.Ends {
		r.ends.of(reason)
	}
	return r
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
			t.denials.of(e.text).Inc()
		}
	case shaken:
		t.ghostunnel.handshake(e.took)
		t.handshakes.Observe(e.took.Seconds())
		if e.session != (session{}) {
			t.sessions.of(e.session).Inc()
		}
	case dialled:
		t.dials.Observe(e.took.Seconds())
	case opened:
		t.ghostunnel.opened()
		t.peers.add(e.text)
	case closed:
		t.ghostunnel.closed(e.took, e.text)
		t.lifetimes.Observe(e.took.Seconds())
		t.ends.of(e.text).Inc()
	}
}

// failure counts so many failures; none has the counters exist.
func (t *tally) failure(stage, reason string, n float64) {
	t.failures.of(failure{stage, reason}).Add(n)
	switch stage {
	case stageHandshake:
		t.handshakeFailures.of(reason).Add(n)
	case stageDial:
		t.dialFailures.of(reason).Add(n)
	}
}
