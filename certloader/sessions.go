package certloader

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what sessions holds. A session takes about 2 KiB.
const (
	maxSessionServers = 64
	maxServerSessions = 32
)

// fullTime is for how long a server that failed to resume a session is asked for
// full handshakes alone.
const fullTime = 10 * time.Minute

// askAgain is how often a server that agreed on no post-quantum key exchange is
// offered one again.
const askAgain = time.Hour

// sessions is the TLS sessions that may be resumed with servers: those that one
// identity has begun under one trust.
type sessions struct {
	mu      sync.Mutex
	servers map[string][]*session // by address; the latest is last
	full    map[string]time.Time  // servers with which none is resumed until then
}

// session is one that may be resumed: once, as TLS 1.3 wants it (RFC 8446, C.4),
// or as often as the server takes it in TLS 1.2, which gives no new one for it.
type session struct {
	state *tls.ClientSessionState
	once  bool

	classical bool      // the server agreed on no post-quantum key exchange
	asked     time.Time // when it was last offered one
}

func newSessions() *sessions {
	return &sessions{servers: make(map[string][]*session), full: make(map[string]time.Time)}
}

// take returns a session with a server; nil if there is none.
func (s *sessions) take(server string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.servers[server]
	if len(kept) == 0 || s.avoids(server) {
		return nil
	}
	end := len(kept) - 1
	last := kept[end]
	if last.once {
		s.set(server, slices.Delete(kept, end, end+1))
	}
	return last
}

// give keeps a session with a server. One that can be resumed again and again
// takes the place of all others.
func (s *sessions) give(server string, one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.avoids(server) {
		return
	}
	kept, known := s.servers[server]
	switch {
	case !known:
		makeRoom(s.servers)
	case !one.once:
		kept = nil
	case len(kept) == maxServerSessions:
		kept = slices.Delete(kept, 0, 1)
	}
	s.set(server, append(kept, one))
}

// makeRoom lets go of one server, any one, if there are as many as may be: so
// many addresses are nobody's.
func makeRoom[T any](servers map[string]T) {
	if len(servers) < maxSessionServers {
		return
	}
	for server := range servers {
		delete(servers, server)
		return
	}
}

// avoid has no session be resumed with a server for a while.
func (s *sessions) avoid(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.servers, server)
	if _, known := s.full[server]; !known {
		makeRoom(s.full)
	}
	s.full[server] = time.Now().Add(fullTime)
}

// avoids reports whether no session is to be resumed with a server.
func (s *sessions) avoids(server string) bool {
	until, known := s.full[server]
	if known && time.Now().After(until) {
		delete(s.full, server)
		return false
	}
	return known
}

// forget drops a session that is no good.
func (s *sessions) forget(server string, one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(server, slices.DeleteFunc(s.servers[server], func(kept *session) bool { return kept == one }))
}

func (s *sessions) set(server string, kept []*session) {
	if len(kept) == 0 {
		delete(s.servers, server)
		return
	}
	s.servers[server] = kept
}

// visit is one connection's part in sessions, as crypto/tls wants to see it.
type visit struct {
	sessions *sessions
	server   string
	taken    *session  // the one to be resumed; nil: none
	asked    time.Time // when the server was last offered a post-quantum key exchange

	// Set once the server has shown who it is.
	version atomic.Uint32 // of TLS
	curve   atomic.Uint32 // that keys were exchanged with
}

// FailedToResume reports whether a handshake that failed, with a config of
// [Source.ClientConfigs], was to resume a session and was cut off by the server
// before it showed who it is. Some servers cannot resume what they gave tickets for,
// and fail: those of OpenSSL that ask for certificates and set no context for their
// sessions. From then on the server is asked for full handshakes, for ten minutes; a
// new connection may do.
func FailedToResume(config *tls.Config) bool {
	v, ok := config.ClientSessionCache.(*visit)
	if !ok || v.taken == nil || v.version.Load() != 0 {
		return false
	}
	v.sessions.avoid(v.server)
	return true
}

// Get returns a session to be resumed.
func (v *visit) Get(string) (*tls.ClientSessionState, bool) {
	if v.taken == nil {
		return nil, false
	}
	return v.taken.state, true
}

// Put takes a session that has begun, or nil where the one that Get returned did
// not do. It may come from whoever reads from the connection.
func (v *visit) Put(_ string, state *tls.ClientSessionState) {
	if state == nil {
		v.sessions.forget(v.server, v.taken)
		return
	}
	v.sessions.give(v.server, &session{
		state:     state,
		once:      v.version.Load() == tls.VersionTLS13,
		classical: slices.Contains(classicalCurves(), tls.CurveID(v.curve.Load())), //nolint:gosec // it was one
		asked:     v.asked,
	})
}

// resuming gives connections their part in the sessions of the moment's identity
// and trust. Those of others are never resumed again: connections that were
// begun with them still have their part in those, and nobody has after them.
type resuming struct{ latest atomic.Pointer[era] }

// era is the sessions that go with a snapshot.
type era struct {
	snapshot *snapshot
	sessions *sessions
}

// of returns the sessions that go with a snapshot. What a reload has left as it
// was goes with both.
func (r *resuming) of(current *snapshot) *sessions {
	latest := r.latest.Load()
	if latest != nil && latest.snapshot == current {
		return latest.sessions
	}
	next := &era{snapshot: current, sessions: newSessions()}
	if latest != nil && latest.snapshot.generation == current.generation && latest.snapshot.sameChain(current) {
		next.sessions = latest.sessions
	}
	r.latest.Store(next)
	return next.sessions
}

// attach has config, which is for one connection to remote, resume a session of
// current.
//
// The keys of a post-quantum exchange are a fifth of what such a handshake costs,
// and for nothing with a server that has just agreed on another one. What follows
// is as safe as the session that it resumes. The server is asked again in full
// handshakes and every hour, since it may have learned by then.
func (r *resuming) attach(config *tls.Config, current *snapshot, remote net.Addr) {
	v := &visit{sessions: r.of(current), server: remote.String(), asked: time.Now()}
	v.taken = v.sessions.take(v.server)
	if v.taken != nil && v.taken.once && v.taken.classical && time.Since(v.taken.asked) < askAgain {
		config.CurvePreferences = classicalCurves()
		v.asked = v.taken.asked
	}
	config.ClientSessionCache = v
	verify := config.VerifyConnection
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		v.version.Store(uint32(cs.Version))
		v.curve.Store(uint32(cs.CurveID))
		return verify(cs)
	}
}

// classicalCurves is the key exchanges of TLS that no part of is post-quantum.
func classicalCurves() []tls.CurveID {
	return []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
}

// sameChain reports whether both have the same certificates to show, or none.
func (s *snapshot) sameChain(other *snapshot) bool {
	if s.Identity == nil || other.Identity == nil {
		return s.Identity == other.Identity
	}
	return slices.EqualFunc(s.Identity.Certificate, other.Identity.Certificate, bytes.Equal)
}
