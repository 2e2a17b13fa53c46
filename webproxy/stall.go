package webproxy

import (
	"sync"
	"time"
)

// stall is the clock of somebody who is to take more of what is sent. The zero value never runs.
type stall struct {
	limit   time.Duration
	expired func() bool

	mu      sync.Mutex
	timer   *time.Timer // nil: it never runs
	running bool
	ended   bool
}

// start has it call expired when it has run for the limit, and again if that returns false. Nothing is called once it was paused
// or ended.
func (s *stall) start(limit time.Duration, expired func() bool) {
	if limit > 0 {
		s.limit, s.expired, s.timer = limit, expired, time.AfterFunc(limit, s.expire)
		s.timer.Stop()
	}
}

func (s *stall) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running && !s.expired() {
		s.timer.Reset(s.limit)
	}
}

func (s *stall) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked()
}

func (s *stall) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil && !s.ended {
		s.running = true
		s.timer.Reset(s.limit)
	}
}

// end stops it for good.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.stopLocked()
}

func (s *stall) stopLocked() {
	if s.running = false; s.timer != nil {
		s.timer.Stop()
	}
}
