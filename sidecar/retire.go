package sidecar

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sallyport/config"
)

// release drains a member that no longer is to be what it was, and lets go of it then. Whoever is connected has until
// --shutdown-timeout. f.mu is held.
func (f *fleet) release(m *member) {
	t, l := m.tunnel, m.ledger
	m.unwatch()
	f.leaving[t] = l
	limit := f.config.ShutdownTimeout
	f.running.Go(func() {
		f.drained(t, 0, limit)
		if err := t.close(); err != nil {
			t.log.Warn("letting go of a tunnel", "error", err)
		}
		f.dismiss(t)
	})
}

// drained drains a tunnel after a while, and returns when none of its connections is left.
func (f *fleet) drained(t *tunnel, after, limit time.Duration) {
	wait := time.NewTimer(after)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-f.ctx.Done(): // the process ends, and with it the tunnel
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := t.server.Drain(ctx); err != nil {
		t.log.Warn("drained; connections were closed that took longer", "limit", limit)
		return
	}
	t.log.Info("drained")
}

// dismiss forgets a tunnel that has no connections any more, and what was shown and measured under its name, if there is no
// other of that name.
func (f *fleet) dismiss(t *tunnel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.leaving[t]
	delete(f.leaving, t)
	l.end(t.server)
	if !f.drains(l) {
		next := slices.DeleteFunc(slices.Clone(f.members()), func(m *member) bool { return m.removed && m.ledger == l })
		f.roster.Store(&next)
	}
	f.forget(t.name(), l)
}

// drains tells whether a tunnel leaves whose connections a ledger counts. f.mu is held.
func (f *fleet) drains(l *ledger) bool {
	for _, other := range f.leaving {
		if other == l {
			return true
		}
	}
	return false
}

// forget ends what is kept by a name, if no tunnel has it any more, and what is told of requests, if none that has it looks
// into them. f.mu is held.
func (f *fleet) forget(name string, l *ledger) {
	var left []*config.Tunnel
	for t, other := range f.leaving {
		if other == l {
			left = append(left, t.config)
		}
	}
	for _, m := range f.members() {
		if m.name() == name {
			left = append(left, m.config)
		}
	}
	if len(left) == 0 {
		delete(f.ledgers, name)
	}
	switch {
	case f.metrics == nil:
	case len(left) == 0:
		f.metrics.RemoveTunnel(name)
	case !slices.ContainsFunc(left, func(c *config.Tunnel) bool { return c.Protocol == config.HTTP }):
		f.metrics.RemoveRequests(name)
	}
}

// drain has a tunnel accept no more connections: it is said at once, and done after --shutdown-delay. It stays so until the
// configuration has something else for its name.
func (f *fleet) drain(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.members(), func(m *member) bool { return m.name() == name })
	if i < 0 || f.closed {
		return
	}
	m := f.members()[i]
	if m.draining.Swap(true) || m.removed || m.tunnel == nil {
		return
	}
	m.unwatch()
	after, limit := f.config.ShutdownDelay, f.config.ShutdownTimeout
	f.running.Go(func() {
		f.log.Info("draining a tunnel", "tunnel", name, "cause", "request to /_drain")
		f.drained(m.tunnel, after, limit)
	})
}

// limits are how long a drain may take, and how long before it nothing changes yet.
func (f *fleet) limits() (timeout, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config.ShutdownTimeout, f.config.ShutdownDelay
}

// end has nothing be started any more, and returns all tunnels that have to be shut down.
func (f *fleet) end() []*tunnel {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	all := f.tunnels()
	for t := range f.leaving {
		all = append(all, t)
	}
	return all
}

// shutDown shuts all tunnels down side by side. When the context ends while connections are open, its cause is the error.
func (f *fleet) shutDown(ctx context.Context) error {
	tunnels := f.end()
	errs := make([]error, len(tunnels))
	var all sync.WaitGroup
	for i, t := range tunnels {
		all.Go(func() { errs[i] = t.server.Shutdown(ctx) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// openConnections counts those of all tunnels.
func (f *fleet) openConnections() int64 {
	var sum int64
	for _, m := range f.members() {
		open, _ := m.ledger.counts()
		sum += open
	}
	return sum
}

// accepting asks every tunnel whether it accepts connections, and returns which one has not answered when the context ends.
func (f *fleet) accepting(ctx context.Context) error {
	for _, m := range f.members() {
		if m.tunnel == nil || m.removed {
			continue
		}
		if err := m.tunnel.server.Ping(ctx); err != nil {
			return m.locate(fmt.Errorf("--listen %s: what accepts connections is stuck: %w", m.config.Listen, err))
		}
	}
	return nil
}
