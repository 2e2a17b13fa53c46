package upstream

import (
	"context"
	"time"
)

// watch checks a member at once, and again and again until the context ends.
func (g *Group) watch(ctx context.Context, m *member) {
	for {
		started := time.Now()
		err := g.probe(ctx, m)
		if ctx.Err() != nil {
			return
		}
		g.judged(m, started, err)
		select {
		case <-time.After(g.untilNext(time.Since(started))):
		case <-ctx.Done():
			return
		}
	}
}

// probe runs a check of the member.
func (g *Group) probe(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, g.options.HealthTimeout)
	defer cancel()
	return m.check(ctx)
}

// untilNext is how long to wait after a check that took so long. Checks of many members should not come all at once.
func (g *Group) untilNext(took time.Duration) time.Duration {
	const spread = 0.1
	g.mu.Lock()
	defer g.mu.Unlock()
	every := time.Duration(float64(g.options.HealthInterval) * (1 - spread*g.random.Float64()))
	return max(every-took, 0)
}

// judged notes what a check found that began then.
func (g *Group) judged(m *member, started time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, before := time.Now(), m.health
	m.heard = now
	if err != nil {
		m.health, m.fault = healthDown, err
		if before != healthDown {
			g.log.Warn("target down", "target", m.name, "error", err)
		}
		return
	}
	m.health = healthUp
	switch {
	case before == healthDown:
		m.back(now)
		g.log.Info("target up", "target", m.name)
	case m.row > 0 && started.After(m.failed): // it has recovered since
		m.back(now)
		g.log.Info("target takes connections again", "target", m.name)
	}
	if m.row == 0 {
		m.fault = nil
	}
}
