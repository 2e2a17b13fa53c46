package upstream

import (
	"log/slog"
	"time"
)

// How long a member is ejected: as long as the first at first, twice as long with each failure in a row, up to the second. Less
// up to half of it, at random, so that replicas do not all come back at once. One that takes its time to fail is left alone for
// longer than that took, or there would always be somebody who waits for it.
const (
	minEjection = time.Second
	maxEjection = 30 * time.Second
)

// connected notes that a connection to the member was made.
func (g *Group) connected(m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	m.total++
	m.trying, m.heard = false, now
	if m.health != healthDown { // which has a fault that counts
		m.fault = nil
	}
	if m.row == 0 {
		return
	}
	m.back(now)
	g.log.Info("target takes connections again", "target", m.name)
}

// failed notes that a connection to the member could not be made, and how long it took to find out.
func (g *Group) failed(m *member, err error, took time.Duration) {
	reason := g.options.Reason(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	m.failures[reason]++
	m.heard, m.fault, m.failed = now, err, now
	if !m.trying && m.away(now) {
		return // it was on its way when the member was ejected, and says nothing new
	}
	m.trying = false
	m.row++
	m.ejected++
	pause := max(g.pauseLocked(m.row), 2*took)
	m.until = now.Add(pause)
	level := slog.LevelWarn
	if m.row > 1 {
		level = slog.LevelDebug // it is still away
	}
	g.log.Log(g.ctx, level, "target ejected", "target", m.name, "reason", reason, "error", err, "retry_in", pause)
}

// pauseLocked is how long a member is ejected after so many failures in a row.
func (g *Group) pauseLocked(row int) time.Duration {
	pause := maxEjection
	if doublings := row - 1; doublings < 5 {
		pause = min(minEjection<<doublings, maxEjection)
	}
	return pause/2 + time.Duration(g.random.Float64()*float64(pause/2))
}

// undecided notes the end of an attempt that says nothing about the member.
func (g *Group) undecided(m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.trying = false
}
