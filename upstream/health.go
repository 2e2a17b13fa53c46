package upstream

import (
	"context"
	"log/slog"
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

// judged notes what a check found that began then, and tells if that is something new.
func (g *Group) judged(m *member, started time.Time, err error) {
	switch g.judge(m, started, err) {
	case wentDown:
		attrs := []slog.Attr{slog.String("target", m.name), slog.Any("error", err)}
		g.log.LogAttrs(g.ctx, slog.LevelWarn, "target down", append(attrs, g.hint(err)...)...)
	case cameUp:
		g.log.Info("target up", "target", m.name)
	case recovered:
		g.log.Info("target takes connections again", "target", m.name)
	case nothingNew:
	}
}

// change is what a check has changed.
type change uint8

const (
	nothingNew change = iota
	wentDown
	cameUp
	recovered // it was ejected
)

func (g *Group) judge(m *member, started time.Time, err error) change {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, before := time.Now(), m.health
	m.heard = now
	if err != nil {
		m.health, m.fault = healthDown, err
		if before == healthDown {
			return nothingNew
		}
		return wentDown
	}
	m.health = healthUp
	news := nothingNew
	switch {
	case before == healthDown:
		news = cameUp
		m.back(now)
	case m.row > 0 && started.After(m.failed):
		news = recovered
		m.back(now)
	}
	if m.row == 0 {
		m.fault = nil
	}
	return news
}
