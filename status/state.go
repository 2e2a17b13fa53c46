package status

import (
	"sync"
	"time"
)

// The messages of /_status, one for each time of life.
const (
	initializing = "initializing"
	listening    = "listening"
	reloading    = "reloading"
	stopping     = "stopping"
)

// State is the life of a process: it starts, listens, reloads now and then, and
// stops. Only its methods change it, they are safe for concurrent use, and from
// stopping there is no way back. Make it with [NewState].
type State struct {
	mu       sync.Mutex
	now      moment
	followed func(moment) // told of each change, in order; nil: nobody
}

// moment is a State at one time.
type moment struct {
	message     string
	started     time.Time
	lastReload  time.Time // the latest attempt; zero before the first
	lastSuccess time.Time // the latest reload that succeeded, the start included; zero before that
	lastError   string    // of the latest attempt; "" if it succeeded
	deadline    time.Time // when a drain is cut short; zero: not, or not draining
}

// accepting tells whether connections are accepted.
func (m moment) accepting() bool {
	return m.message == listening || m.message == reloading
}

// NewState returns a State that is initializing, and started now.
func NewState() *State {
	return &State{now: moment{message: initializing, started: time.Now()}}
}

// Listening says that every listener accepts connections. What was loaded for
// that counts as a reload that succeeded.
func (s *State) Listening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.message != stopping {
		s.now.message = listening
		s.now.lastSuccess = time.Now()
		s.changed()
	}
}

// Reloading says that a reload begins; [State.Reloaded] must follow. While
// stopping it changes nothing, as nothing reloads then.
func (s *State) Reloading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.message != stopping {
		s.now.message = reloading
		s.now.lastReload = time.Now()
		s.changed()
	}
}

// Reloaded says how a reload ended: nil if all of it succeeded, otherwise what
// went wrong, and the process goes on as it was. The error's text is shown as
// it is. A reload that a stop overtook is still recorded.
func (s *State) Reloaded(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.now.lastError = err.Error()
	} else {
		s.now.lastError = ""
		s.now.lastSuccess = time.Now()
	}
	if s.now.message == reloading {
		s.now.message = listening
		s.changed()
	}
}

// Stopping says that listeners close and connections drain, at the latest until
// the deadline, if it is not zero. What is said later changes nothing.
func (s *State) Stopping(deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.message != stopping {
		s.now.message = stopping
		s.now.deadline = deadline
		s.changed()
	}
}

// follow has f called with each change of the message, in order. It must not
// call the State, and should return quickly.
func (s *State) follow(f func(moment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followed = f
}

// changed tells who follows.
func (s *State) changed() {
	if s.followed != nil {
		s.followed(s.now)
	}
}

// read returns the State as it is now.
func (s *State) read() moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
