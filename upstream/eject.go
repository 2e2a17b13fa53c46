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
	now := time.Now()
	g.mu.Lock()
	m.total++
	m.trying, m.heard = false, now
	if m.health != healthDown { // which has a fault that counts
		m.fault = nil
	}
	returned := m.row > 0
	if returned {
		m.back(now)
	}
	g.mu.Unlock()
	if returned { // and nobody waits for the log
		g.log.Info("target takes connections again", "target", m.name)
	}
}

// failed notes that a connection to the member could not be made, and how long it took to find out.
func (g *Group) failed(m *member, err error, took time.Duration) {
	reason := g.options.Reason(err)
	row, pause := g.eject(m, reason, err, took)
	if row == 0 {
		return
	}
	level := slog.LevelWarn
	if row > 1 {
		level = slog.LevelDebug // it is still away
	}
	attrs := []slog.Attr{
		slog.String("target", m.name), slog.String("reason", reason), slog.Any("error", err), slog.Duration("retry_in", pause),
	}
	g.log.LogAttrs(g.ctx, level, "target ejected", append(attrs, g.hint(err)...)...)
}

// hint is what may help, for log lines.
func (g *Group) hint(err error) []slog.Attr {
	if g.options.Hint == nil {
		return nil
	}
	text := g.options.Hint(g.options.Reason(err))
	if text == "" {
		return nil
	}
	return []slog.Attr{slog.String("hint", text)}
}

// eject has the member get no connections for a while, and returns how many failures in a row it has by then; 0 if what failed
// was on its way when the member was ejected, and says nothing new.
func (g *Group) eject(m *member, reason string, err error, took time.Duration) (row int, pause time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	m.failures[reason]++
	m.heard, m.fault, m.failed = now, err, now
	if !m.trying && m.away(now) {
		return 0, 0
	}
	m.trying = false
	m.row++
	m.ejected++
	pause = max(g.pauseLocked(m.row), 2*took)
	m.until = now.Add(pause)
	return m.row, pause
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
