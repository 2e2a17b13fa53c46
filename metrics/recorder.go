package metrics

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"
)

// Recorder takes down what becomes of the connections of one tunnel.
// [Metrics.AddTunnel] makes it. Its methods are safe for concurrent use.
//
// Events are noted as they happen and counted many at a time, when as many have
// come together, a second has passed, or somebody looks. Counting takes little,
// but it touches a lot of memory and code, which the handshakes between two
// events have driven out of the processor's caches: one by one it would cost
// many times as much.
type Recorder struct {
	told atomic.Pointer[Tunnel]

	tally *tally

	mu    sync.Mutex
	noted []event // not counted yet; it never grows, and is nil before the first
	later *time.Timer
}

// The events of a Recorder.
const (
	accepted kind = iota
	failed
	shaken
	dialled
	opened
	closed
)

type kind uint8

// event is one of what a Recorder is told.
type event struct {
	kind    kind
	session session
	took    time.Duration
	stage   string
	text    string // a reason or an identity
}

const (
	notedMost = 256         // events that wait to be counted
	notedFor  = time.Second // how long they do
)

func newRecorder(counting *tally, t Tunnel) *Recorder {
	r := &Recorder{tally: counting}
	r.tell(t)
	r.later = time.AfterFunc(notedFor, r.settle)
	r.later.Stop()
	return r
}

// become has the Recorder go on as that of another tunnel of the same name. What was
// counted goes on, but for failures to connect to a target that it does not have.
func (r *Recorder) become(t Tunnel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleLocked()
	if r.told.Load().Target != t.Target {
		r.tally.dialFailures.reset()
	}
	r.tally.expect(&t)
	r.tell(t)
}

// tell has scrapes told of a tunnel. Its reasons are counted by then.
func (r *Recorder) tell(t Tunnel) {
	t.Failures, t.Ends = nil, nil
	r.told.Store(&t)
}

// note has an event counted in a moment.
func (r *Recorder) note(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.noted == nil {
		r.noted = make([]event, 0, notedMost) // of tunnels that nobody comes to there may be many
	}
	if len(r.noted) == 0 {
		r.later.Reset(notedFor)
	}
	r.noted = append(r.noted, e)
	if len(r.noted) == notedMost {
		r.settleLocked()
	}
}

// settle counts what is noted.
func (r *Recorder) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleLocked()
}

func (r *Recorder) settleLocked() {
	r.later.Stop()
	for i := range r.noted {
		r.tally.count(&r.noted[i])
	}
	clear(r.noted) // which lets go of the texts
	r.noted = r.noted[:0]
}

// Accepted records that a connection came in. [Recorder.Closed] must follow,
// whatever becomes of it.
func (r *Recorder) Accepted() { r.note(event{kind: accepted}) }

// Failed records that a connection, or the accepting of one, came to nothing
// before it was forwarded. The stage says how far it got (accept, limit,
// handshake, dial and the like) and the reason why it failed. Each combination
// is kept, so reasons must be few.
func (r *Recorder) Failed(stage, reason string) {
	r.note(event{kind: failed, stage: stage, text: reason})
}

// Handshake records that a TLS handshake took so long. State is that of the
// session that came of it, nil if it failed.
func (r *Recorder) Handshake(took time.Duration, state *tls.ConnectionState) {
	e := event{kind: shaken, took: took}
	if state != nil {
		e.session = session{state.Version, state.CipherSuite, state.DidResume}
	}
	r.note(e)
}

// Dialled records that connecting to the target took so long, with or without
// success.
func (r *Recorder) Dialled(took time.Duration) { r.note(event{kind: dialled, took: took}) }

// Opened records that a connection is being forwarded for a peer; "" is one
// that showed no certificate.
func (r *Recorder) Opened(identity string) { r.note(event{kind: opened, text: identity}) }

// Closed records that a connection which [Recorder.Accepted] announced is gone,
// after the given lifetime, for the given reason. The reasons idle_timeout,
// close_timeout, lifetime and client_stalled are those of a deadline and count as
// conn.timeout.
func (r *Recorder) Closed(lifetime time.Duration, reason string) {
	r.note(event{kind: closed, took: lifetime, text: reason})
}
