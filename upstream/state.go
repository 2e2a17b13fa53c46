package upstream

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

// State is how a member is at one moment.
type State struct {
	Name      string // the target's; with "/" and the address, where that was looked up
	Weight    int
	Up        bool             // connections go to it, as far as is known
	Heard     time.Time        // when it was last connected to, or checked; zero: never
	Checked   bool             // health checks say whether it is up, so that Heard is never long ago
	Ejected   bool             // connecting to it failed a moment ago
	Fault     error            // why it is not up; nil if it is
	Open      int              // connections in hand, those being made included
	Total     int64            // connections that were made
	Failures  map[string]int64 // connections that could not be made, by the reason
	Ejections int64            // how often it was ejected
}

// States returns all members in the order of targets. A name without an address is one that is not up.
func (g *Group) States() []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	var states []State
	for i := range g.names {
		n, t := &g.names[i], &g.options.Targets[i]
		for _, m := range n.members {
			states = append(states, m.state(now))
		}
		if len(n.members) == 0 && n.err != nil {
			states = append(states, State{Name: t.Name, Weight: max(t.Weight, 1), Heard: now, Checked: true, Fault: n.err})
		}
	}
	return states
}

func (m *member) state(now time.Time) State {
	s := State{
		Name:      m.name,
		Weight:    int(m.weight),
		Heard:     m.heard,
		Checked:   m.health != healthUnknown,
		Ejected:   m.away(now),
		Open:      m.open,
		Total:     m.total,
		Failures:  maps.Clone(m.failures),
		Ejections: m.ejected,
	}
	switch m.health {
	case healthUp:
		s.Up = !s.Ejected
	case healthUnknown:
		s.Up = m.fault == nil
	case healthDown:
	}
	if !s.Up {
		s.Fault = m.fault
	}
	return s
}

// faults are those of members that are down, and of names that have none.
func (g *Group) faults() []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var faults []error
	for i := range g.names {
		n := &g.names[i]
		for _, m := range n.members {
			if m.health == healthDown {
				faults = append(faults, fmt.Errorf("target %s: %w", m.name, m.fault))
			}
		}
		if len(n.members) == 0 && n.err != nil {
			faults = append(faults, fmt.Errorf("target %s: %w", g.options.Targets[i].Name, n.err))
		}
	}
	return faults
}

// Check finds out whether any member is up, and returns nil if so. Those of which health checks tell are not asked once more.
// What it finds is in States, and changes nothing about where connections go.
func (g *Group) Check(ctx context.Context) error {
	if err := g.await(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	members := g.members
	var asked []*member
	for _, m := range members {
		if m.health == healthUnknown {
			asked = append(asked, m)
		}
	}
	g.mu.Unlock()
	var asking sync.WaitGroup
	for _, m := range asked {
		asking.Go(func() {
			err := m.check(ctx)
			g.mu.Lock()
			defer g.mu.Unlock()
			if m.health == healthUnknown {
				m.heard, m.fault = time.Now(), err
			}
		})
	}
	asking.Wait()
	states := g.States()
	failure := &NoTargetError{}
	for _, s := range states {
		if s.Up {
			return nil
		}
		if s.Fault != nil {
			failure.Failures = append(failure.Failures, fmt.Errorf("target %s: %w", s.Name, s.Fault))
		}
	}
	return failure
}
