package netstat

import (
	"context"
	"net/netip"
	"time"
)

// The pause between two looks is a sixth of MinAge, within these limits, so that
// what is counted late is late by little.
const (
	pausesPerAge = 6
	minPause     = 100 * time.Millisecond
	maxPause     = 5 * time.Second

	// idleShare is how much longer than a look the pause after it is at least.
	// To list many thousand connections takes the kernel a while.
	idleShare = 20

	// fresh is how old a look may be that answers a scrape, or the pause after
	// it if that is longer: scrapes have the kernel list no more often.
	fresh = 100 * time.Millisecond
)

// entry is one line of the lists.
type entry struct {
	connection
	state state
}

// state is what a socket is doing; those that are of no interest have no name.
type state uint8

// States, by the numbers that the kernel gives them.
const (
	established state = 1
	listens     state = 10
)

// connection is what tells one connection from all others at a time, and from
// those that had the same addresses before or after.
type connection struct {
	local, remote netip.AddrPort
	inode         uint64 // of the socket; 0 until a program has accepted it
	tcp6          bool
}

// listener is a port that somebody listens on.
type listener struct {
	port uint16
	tcp6 bool
}

// sighting is what is known of a connection.
type sighting struct {
	first time.Time // when it was first seen
	scan  uint64    // the latest look that saw it
	named bool      // its local port says which service it is of
}

// portRange is a range of ports, both ends included.
type portRange struct{ first, last uint16 }

func (r portRange) contains(port uint16) bool { return r.first <= port && port <= r.last }

// Run looks at the lists until the context ends: every sixth of MinAge, but no
// more often than every 100 ms and no less often than every 5 s; and with pauses
// that are twenty times as long as a look took, if that is longer.
func (w *Watch) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			timer.Reset(w.look())
		case <-ctx.Done():
			return
		}
	}
}

// look scans the lists, and says when to do it again.
func (w *Watch) look() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scanLists()
	pause := min(max(w.options.MinAge/pausesPerAge, minPause), maxPause)
	return max(pause, idleShare*w.took)
}

// scanLists reads the lists and notes what is there. The caller holds mu.
func (w *Watch) scanLists() {
	start := time.Now()
	entries, err := w.read(w.options.TCP6)
	now := time.Now()
	w.err, w.at, w.took = err, now, now.Sub(start)
	if err != nil {
		w.failures.Inc()
		return
	}
	w.scan++
	w.listening = make(map[listener]bool)
	for i := range entries {
		if e := &entries[i]; e.state == listens {
			w.listening[listener{e.local.Port(), e.tcp6}] = true
		}
	}
	for i := range entries {
		if e := &entries[i]; e.state == established {
			w.see(e.connection, now)
		}
	}
	for c, s := range w.known {
		if s.scan != w.scan && w.over(c, s) {
			delete(w.known, c)
		}
	}
}

// see notes that a connection is there.
func (w *Watch) see(c connection, now time.Time) {
	s := w.known[c]
	if s == nil {
		port := c.local.Port()
		s = &sighting{first: now, named: !w.chosen.contains(port) || w.listening[listener{port, false}] || w.listening[listener{port, true}]}
		// A connection has no inode while it waits to be accepted, and that
		// time is part of its life.
		waiting := c
		waiting.inode = 0
		if before := w.known[waiting]; before != nil && before.scan+1 == w.scan {
			s.first = before.first
		}
		w.known[c] = s
	}
	s.scan = w.scan
}

// over reports whether a connection that is not in the latest lists has ended.
// While others come and go, the kernel may leave one out; but not twice. Without
// an inode, it may be another with the same addresses when it comes back.
func (w *Watch) over(c connection, s *sighting) bool {
	return c.inode == 0 || s.scan+1 < w.scan
}

// long calls f for each connection that the latest look saw and that counts.
func (w *Watch) long(f func(connection, *sighting)) {
	for c, s := range w.known {
		if s.scan == w.scan && w.counts(c.local.Port()) && w.at.Sub(s.first) >= w.options.MinAge {
			f(c, s)
		}
	}
}

// counts reports whether connections to a local port are asked for.
func (w *Watch) counts(port uint16) bool {
	if w.options.Port != 0 {
		return port == w.options.Port
	}
	return port != w.options.OwnPort
}
