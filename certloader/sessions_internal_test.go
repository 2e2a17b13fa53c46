package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/devpki"
)

// visitOf is a connection to a server, of a TLS version that is known.
func visitOf(s *sessions, server string, version uint16) *visit {
	v := &visit{sessions: s, server: server}
	v.version.Store(uint32(version))
	return v
}

// found is the session that a visit gets; nil for none.
func (v *visit) found() *tls.ClientSessionState {
	v.taken = v.sessions.take(v.server)
	state, ok := v.Get("the name does not matter")
	if ok != (state != nil) {
		panic("half a session")
	}
	return state
}

func TestSessionOfTLS13IsResumedOnce(t *testing.T) {
	t.Parallel()
	s := newSessions()
	first, second := new(tls.ClientSessionState), new(tls.ClientSessionState)
	begin := visitOf(s, "a", tls.VersionTLS13)
	begin.Put("", first)
	begin.Put("", second)
	if got := visitOf(s, "b", 0).found(); got != nil {
		t.Error("a session with another server is resumed")
	}
	for i, want := range []*tls.ClientSessionState{second, first, nil} { // the latest has the longest to live
		if got := visitOf(s, "a", 0).found(); got != want {
			t.Errorf("%d: got %p, want %p", i, got, want)
		}
	}
	if len(s.servers) != 0 {
		t.Error("a server without sessions is kept")
	}
}

func TestSessionOfTLS12IsResumedAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newSessions()
	first, second := new(tls.ClientSessionState), new(tls.ClientSessionState)
	visitOf(s, "a", tls.VersionTLS12).Put("", first)
	for range 3 {
		if got := visitOf(s, "a", 0).found(); got != first {
			t.Fatalf("got %p, want %p", got, first)
		}
	}
	visitOf(s, "a", tls.VersionTLS12).Put("", second)
	refused := visitOf(s, "a", 0)
	if got := refused.found(); got != second {
		t.Errorf("got %p, want the newer %p", got, second)
	}
	refused.Put("", nil)
	if got := visitOf(s, "a", 0).found(); got != nil {
		t.Errorf("one that did not do is kept: %p", got)
	}
}

func TestSessionThatDoesNotDoLeavesOthers(t *testing.T) {
	t.Parallel()
	s := newSessions()
	other := new(tls.ClientSessionState)
	begin := visitOf(s, "a", tls.VersionTLS13)
	begin.Put("", other)
	begin.Put("", new(tls.ClientSessionState))
	refused := visitOf(s, "a", 0)
	refused.found()
	refused.Put("", nil)
	visitOf(s, "b", 0).Put("", nil) // it had none
	if got := visitOf(s, "a", 0).found(); got != other {
		t.Errorf("got %p, want %p", got, other)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSessions()
	for i := range 3 * maxSessionServers {
		for range 2 * maxServerSessions {
			visitOf(s, fmt.Sprint(i), tls.VersionTLS13).Put("", new(tls.ClientSessionState))
		}
	}
	if len(s.servers) != maxSessionServers {
		t.Errorf("sessions with %d servers, want %d", len(s.servers), maxSessionServers)
	}
	for server := range s.servers {
		visitOf(s, server, tls.VersionTLS13).Put("", new(tls.ClientSessionState))
	}
	if len(s.servers) != maxSessionServers {
		t.Errorf("one more session with each leaves %d servers", len(s.servers))
	}
	for server, kept := range s.servers {
		if len(kept) != maxServerSessions || slices.Contains(kept, nil) {
			t.Errorf("%d sessions with %s, want %d", len(kept), server, maxServerSessions)
		}
	}
}

func TestServersThatFailToResumeAreAskedForFullHandshakesForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		give := func(server string) { visitOf(s, server, tls.VersionTLS13).Put("", new(tls.ClientSessionState)) }
		give("a")
		give("b")
		s.avoid("a")
		give("a")
		if visitOf(s, "a", 0).found() != nil {
			t.Error("resumed with a server that fails then")
		}
		if visitOf(s, "b", 0).found() == nil {
			t.Error("not resumed with another")
		}
		time.Sleep(fullTime + 1)
		if visitOf(s, "a", 0).found() != nil {
			t.Error("a session was kept meanwhile")
		}
		give("a")
		if visitOf(s, "a", 0).found() == nil || len(s.full) != 0 {
			t.Error("not resumed after a while")
		}
		for i := range 3 * maxSessionServers {
			s.avoid(fmt.Sprint(i))
		}
		if len(s.full) != maxSessionServers {
			t.Errorf("%d servers are avoided, want %d", len(s.full), maxSessionServers)
		}
	})
}

func TestSessionsServeManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSessions()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 200 {
				v := visitOf(s, fmt.Sprint(i%2), tls.VersionTLS13)
				if v.found() == nil {
					v.Put("", new(tls.ClientSessionState))
				} else {
					v.Put("", nil)
				}
			}
		})
	}
	all.Wait()
}

func TestSessionsGoWithIdentityAndTrust(t *testing.T) {
	t.Parallel()
	ca := must[*devpki.CA](t)(devpki.NewCA(devpki.Options{}))
	alice := must[*devpki.Identity](t)(ca.Issue(devpki.Request{CommonName: "alice"})).TLSCertificate()
	bob := must[*devpki.Identity](t)(ca.Issue(devpki.Request{CommonName: "bob"})).TLSCertificate()
	longer := alice
	longer.Certificate = append(slices.Clone(alice.Certificate), ca.Root().Raw)
	now := func(identity *tls.Certificate, generation uint64) *snapshot {
		s := must[*snapshot](t)(newSnapshot(&Material{Identity: identity, Roots: ca.Pool(), CAs: []*x509.Certificate{ca.Root()}}))
		s.generation = generation
		return s
	}
	before := now(&alice, 1)
	again := alice
	for _, test := range []struct {
		name string
		then *snapshot
		same bool
	}{
		{"nothing", before, true},
		{"a reload of the same", now(&again, 1), true},
		{"the trust", now(&alice, 2), false},
		{"the identity", now(&bob, 1), false},
		{"its chain", now(&longer, 1), false},
		{"no identity any more", now(nil, 1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var r resuming
			first := r.of(before)
			if got := r.of(test.then) == first; got != test.same {
				t.Errorf("the same sessions: %t, want %t", got, test.same)
			}
			if again := r.of(before) == first; again != test.same {
				t.Errorf("and back: %t, want %t", again, test.same)
			}
		})
	}
}
