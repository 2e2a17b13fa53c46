package upstream

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// member is one place that connections go to. The group's mu guards what changes.
type member struct {
	target  int    // whose place it is
	name    string // of the target, with the address if that was looked up
	address netip.Addr
	weight  float64
	dial    DialFunc
	check   func(context.Context) error
	forget  context.CancelFunc // ends its health checks

	credit   float64 // what round robin owes it
	open     int     // connections in hand, those being made included
	total    int64   // connections that were made
	failures map[string]int64

	health  health
	heard   time.Time // when a check or an attempt last ended; zero: never
	fault   error     // what it said; nil: it succeeded
	row     int       // failures to connect in a row
	failed  time.Time // when the latest of them was
	until   time.Time // it is ejected until then
	trying  bool      // after that, one connection is on its way to find out
	ejected int64     // how often
	since   time.Time // when it came back, for SlowStart; zero: it was never away
}

// health is what health checks say.
type health uint8

const (
	healthUnknown health = iota // which counts as up
	healthUp
	healthDown
)

// newMember makes a member, and has it checked from now on.
func (g *Group) newMember(target int, address netip.Addr) *member {
	t := &g.options.Targets[target]
	m := &member{
		target:   target,
		name:     t.Name,
		address:  address,
		weight:   float64(max(t.Weight, 1)),
		dial:     t.Dialer(address),
		failures: make(map[string]int64),
	}
	if address.IsValid() {
		m.name += "/" + address.String()
	}
	m.check = func(ctx context.Context) error { return connect(ctx, m.dial) }
	if t.Check != nil {
		m.check = func(ctx context.Context) error { return t.Check(ctx, m.dial) }
	}
	var ctx context.Context
	ctx, m.forget = context.WithCancel(g.ctx)
	if g.options.HealthInterval > 0 {
		g.running.Go(func() { g.watch(ctx, m) })
	}
	return m
}

// connect is the check of a member that has none of its own.
func connect(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	c, err := dial(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

// gatherLocked has members be those of all names.
func (g *Group) gatherLocked() {
	g.members = nil
	for i := range g.names {
		g.members = append(g.members, g.names[i].members...)
	}
}

// usable tells whether a connection may go to the member as to any other.
func (m *member) usable(now time.Time) bool {
	return m.health != healthDown && !m.away(now) && !m.trying
}

// away tells whether the member is ejected.
func (m *member) away(now time.Time) bool { return m.row > 0 && now.Before(m.until) }

// share is the weight that the member has now.
func (m *member) share(now time.Time, slowStart time.Duration) float64 {
	const least = 0.1
	if passed := now.Sub(m.since); slowStart > 0 && !m.since.IsZero() && passed < slowStart {
		return m.weight * max(least, float64(passed)/float64(slowStart))
	}
	return m.weight
}

// back notes that the member is no longer away.
func (m *member) back(now time.Time) {
	m.row, m.until, m.since, m.credit = 0, time.Time{}, now, 0
}
