package metrics

import (
	"crypto/tls"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The stages that metrics of their own are about.
const (
	stageHandshake = "handshake"
	stageDial      = "dial"
)

// Recorder takes down what becomes of the connections of one tunnel, in both
// vocabularies. [Metrics.AddTunnel] makes it. Its methods are safe for
// concurrent use.
type Recorder struct {
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

// session is what is told apart of TLS sessions.
type session struct {
	version, cipher uint16
	resumed         bool
}

func (s session) labels() []string {
	return []string{tls.VersionName(s.version), tls.CipherSuiteName(s.cipher), strconv.FormatBool(s.resumed)}
}

// newRecorder has all reasons that are known exist at zero, so that the first
// of a kind is seen as an increase.
func (m *Metrics) newRecorder(t *Tunnel) *Recorder {
	tunnel := prometheus.Labels{"tunnel": label(t.Name)}
	f := m.families
	r := &Recorder{
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

// Accepted records that a connection came in. [Recorder.Closed] must follow,
// whatever becomes of it.
func (r *Recorder) Accepted() { r.ghostunnel.accepted() }

// Failed records that a connection, or the accepting of one, came to nothing
// before it was forwarded. The stage says how far it got (accept, limit,
// handshake, dial and the like) and the reason why it failed. Each combination
// is kept, so reasons must be few.
func (r *Recorder) Failed(stage, reason string) {
	r.ghostunnel.failed(stage, reason)
	r.failure(stage, reason, 1)
	if slices.Contains(r.denying, reason) {
		r.denials.of(reason).Inc()
	}
}

// failure counts so many failures; none has the counters exist.
func (r *Recorder) failure(stage, reason string, n float64) {
	r.failures.of(failure{stage, reason}).Add(n)
	switch stage {
	case stageHandshake:
		r.handshakeFailures.of(reason).Add(n)
	case stageDial:
		r.dialFailures.of(reason).Add(n)
	}
}

// Handshake records that a TLS handshake took so long. State is that of the
// session that came of it, nil if it failed.
func (r *Recorder) Handshake(took time.Duration, state *tls.ConnectionState) {
	r.ghostunnel.handshake(took)
	r.handshakes.Observe(took.Seconds())
	if state != nil {
		r.sessions.of(session{state.Version, state.CipherSuite, state.DidResume}).Inc()
	}
}

// Dialled records that connecting to the target took so long, with or without success.
func (r *Recorder) Dialled(took time.Duration) { r.dials.Observe(took.Seconds()) }

// Opened records that a connection is being forwarded for a peer; "" is one
// that showed no certificate.
func (r *Recorder) Opened(identity string) {
	r.ghostunnel.opened()
	r.peers.add(identity)
}

// Closed records that a connection which [Recorder.Accepted] announced is gone,
// after the given lifetime, for the given reason. The reasons idle_timeout,
// close_timeout and lifetime are those of a deadline and count as conn.timeout.
func (r *Recorder) Closed(lifetime time.Duration, reason string) {
	r.ghostunnel.closed(lifetime, reason)
	r.lifetimes.Observe(lifetime.Seconds())
	r.ends.of(reason).Inc()
}
