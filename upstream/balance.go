package upstream

import (
	"time"
)

// Balance is a way to spread connections.
type Balance uint8

// The ways.
const (
	RoundRobin Balance = iota // by turns, as often as their weights say
	LeastConn                 // to whoever has the fewest connections for its weight
	First                     // to the first of the targets; the others stand by
	Source                    // by the client's IP address: the same client goes to the same member
)

// pick chooses the member that a connection goes to next, and counts it there; nil is none. Left is how many more there are to
// try. The source is as Dial has it.
func (g *Group) pick(source string, tried map[*member]bool) (m *member, left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	var usable, ejected []*member
	for _, m := range g.members {
		switch {
		case tried[m], m.health == healthDown:
		case m.usable(now):
			usable = append(usable, m)
		default:
			ejected = append(ejected, m)
		}
	}
	switch {
	case len(usable) > 0:
		m = g.choose(usable, source, now)
	case len(ejected) > 0:
		m = soonest(ejected)
	default:
		return nil, 0
	}
	m.trying = m.row > 0
	m.open++
	return m, len(usable) + len(ejected) - 1
}

// choose chooses among members that are up.
func (g *Group) choose(among []*member, source string, now time.Time) *member {
	switch {
	case g.options.Balance == First:
		return among[0]
	case g.options.Balance == Source && source != "":
		return bySource(among, source)
	case g.options.Balance == LeastConn:
		among = g.leastLoaded(among, now)
	}
	return g.nextInTurn(among, now)
}

// nextInTurn is weighted round robin that does not send a heavy member all of its share in a row: each turn every member gains
// its weight, and the richest one pays for all.
func (g *Group) nextInTurn(among []*member, now time.Time) *member {
	var next *member
	sum := 0.0
	for _, m := range among {
		gain := m.share(now, g.options.SlowStart)
		sum += gain
		m.credit += gain
		if next == nil || m.credit > next.credit {
			next = m
		}
	}
	next.credit -= sum
	return next
}

// leastLoaded are those that would have the fewest connections for their weight with one more.
func (g *Group) leastLoaded(among []*member, now time.Time) []*member {
	var least []*member
	lowest := 0.0
	for _, m := range among {
		load := float64(m.open+1) / m.share(now, g.options.SlowStart)
		switch {
		case least == nil || load < lowest:
			least, lowest = append(least[:0], m), load
		case load == lowest:
			least = append(least, m)
		}
	}
	return least
}

// soonest is the one that is ejected for the shortest time from now.
func soonest(among []*member) *member {
	first := among[0]
	for _, m := range among[1:] {
		if m.until.Before(first.until) {
			first = m
		}
	}
	return first
}
