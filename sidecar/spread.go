package sidecar

import (
	"slices"
	"time"

	"sallyport/config"
	"sallyport/metrics"
	"sallyport/status"
	"sallyport/upstream"
)

// spreads tells whether connections of the tunnel, or of one of its routes, are spread over several targets.
func spreads(t *config.Tunnel) bool {
	return slices.ContainsFunc(servedBy(t), func(c *config.Tunnel) bool { return c.Upstream.IsBalanced() })
}

// allTargets are the tunnel's own, and those of its routes.
func (t *tunnel) allTargets() []*targets {
	all := []*targets{t.targets}
	if t.routes != nil {
		for _, r := range t.routes.all {
			all = append(all, r.targets)
		}
	}
	return all
}

// shownTargets are those that connections are spread over, for the status port.
func (t *tunnel) shownTargets() []status.Target {
	shown := func(route string, u *targets) (out []status.Target) {
		if u.group == nil {
			return nil
		}
		for _, s := range u.group.States() {
			out = append(out, status.Target{
				Route: route, Name: s.Name, Weight: s.Weight, Up: s.Up, Fault: s.Fault, Ejected: s.Ejected, Open: s.Open, Total: s.Total,
			})
		}
		return out
	}
	if t.routes == nil {
		return shown("", t.targets)
	}
	var all []status.Target
	for _, r := range t.routes.each() {
		all = append(all, shown(r.name, r.targets)...)
	}
	return all
}

// measuredTargets are those that connections are spread over, and those of routes, for the metrics. What several routes have in
// common is told of once: it is up if all of them find it so.
func (t *tunnel) measuredTargets() []metrics.Target {
	var all []metrics.Target
	for _, u := range t.allTargets() {
		for _, next := range u.measured() {
			at := slices.IndexFunc(all, func(known metrics.Target) bool { return known.Name == next.Name })
			if at < 0 {
				all = append(all, next)
				continue
			}
			all[at] = together(&all[at], &next)
		}
	}
	return all
}

// measured are the targets for the metrics. Of one alone there is its health.
func (u *targets) measured() []metrics.Target {
	switch {
	case u.to.IsZero():
		return nil
	case u.group == nil:
		only := metrics.Target{Name: u.to.Targets[0].Address.String(), Alone: true}
		if heard := u.heard.Load(); heard != nil {
			only.Up, only.Known = heard.up, time.Since(heard.at) < upFor
		}
		return []metrics.Target{only}
	}
	var all []metrics.Target
	for _, s := range u.group.States() {
		all = append(all, measuredTarget(&s))
	}
	return all
}

func measuredTarget(s *upstream.State) metrics.Target {
	return metrics.Target{
		Name:      s.Name,
		Up:        s.Up,
		Known:     s.Checked || s.Ejected || time.Since(s.Heard) < upFor,
		Ejected:   s.Ejected,
		Open:      s.Open,
		Total:     s.Total,
		Failures:  s.Failures,
		Ejections: s.Ejections,
	}
}

// together is one target that two groups have.
func together(a, b *metrics.Target) metrics.Target {
	sum := metrics.Target{
		Name:      a.Name,
		Alone:     a.Alone && b.Alone,
		Up:        (a.Up || !a.Known) && (b.Up || !b.Known),
		Known:     a.Known || b.Known,
		Ejected:   a.Ejected || b.Ejected,
		Open:      a.Open + b.Open,
		Total:     a.Total + b.Total,
		Failures:  make(map[string]int64),
		Ejections: a.Ejections + b.Ejections,
	}
	for _, failures := range []map[string]int64{a.Failures, b.Failures} {
		for reason, n := range failures {
			sum.Failures[reason] += n
		}
	}
	return sum
}
