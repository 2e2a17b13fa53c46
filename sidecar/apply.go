package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"sallyport/config"
	"sallyport/socket"
)

// errEnding is what apply returns once it is too late.
var errEnding = errors.New("the process is ending")

// apply has the fleet become what a configuration says, all of it or nothing. What is new is loaded, and listens, before
// anything is changed; where it listens on an address that a tunnel leaves at that moment, it gets that one's listener with
// all who wait there. Tunnels for which nothing changes are not touched.
func (f *fleet) apply(ctx context.Context, next *config.Sidecar) error {
	p := f.plan(next)
	if err := f.prepare(ctx, p); err != nil {
		return errors.Join(err, f.drop(p))
	}
	told, err := f.commit(ctx, p)
	if err != nil {
		return errors.Join(err, f.drop(p))
	}
	for _, tell := range told {
		tell()
	}
	f.warnOfProcess(p.config)
	return nil
}

// plan is what has to be done for a configuration.
type plan struct {
	config *config.Sidecar
	fresh  []*fresh
	kept   map[string]bool // the names of tunnels that stay as they are
}

// fresh is a tunnel that is to come.
type fresh struct {
	config *config.Tunnel
	ledger *ledger
	tunnel *tunnel
	from   *member // whose listener it gets; nil: it has its own
}

// plan finds out what is new in a configuration.
func (f *fleet) plan(next *config.Sidecar) *plan {
	p := &plan{config: next, kept: make(map[string]bool)}
	for i := range next.Tunnels {
		c := &next.Tunnels[i]
		if f.unchanged(c) == nil {
			p.fresh = append(p.fresh, &fresh{config: c})
		} else {
			p.kept[c.Name] = true
		}
	}
	return p
}

// unchanged is the member that is what a configuration says; nil: there is none.
func (f *fleet) unchanged(c *config.Tunnel) *member {
	for _, m := range f.members() {
		if m.name() == c.Name && !m.removed && m.config.Equal(c) {
			return m
		}
	}
	return nil
}

// prepare puts together what is new, and opens its listeners.
func (f *fleet) prepare(ctx context.Context, p *plan) error {
	f.mu.Lock()
	for _, n := range p.fresh {
		n.ledger = f.ledgerOf(n.config.Name)
	}
	f.mu.Unlock()
	errs := make([]error, len(p.fresh))
	all := make([]*config.Tunnel, len(p.fresh))
	for i, n := range p.fresh {
		all[i] = n.config
	}
	if f.allows(all...) != nil {
		for i, c := range all {
			errs[i] = c.Origin.Locate(f.allows(c))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	each(len(p.fresh), func(i int) {
		n := p.fresh[i]
		if n.tunnel, errs[i] = f.build(ctx, n.config, n.ledger); errs[i] != nil {
			errs[i] = n.config.Origin.Locate(f.hinted(errs[i]))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	vacant := f.vacant(p)
	for i, n := range p.fresh {
		errs[i] = n.config.Origin.Locate(f.hinted(f.listenAnew(ctx, n, vacant)))
	}
	return errors.Join(errors.Join(errs...), f.apart(p))
}

// vacant are the members whose listeners others may get, by where those are and by how that was written.
func (f *fleet) vacant(p *plan) map[string]*member {
	found := make(map[string]*member)
	for _, m := range f.members() {
		switch {
		case p.kept[m.name()]:
		case m.held != nil:
			found[m.config.Listen.String()] = m
		case m.tunnel != nil && m.accepts():
			found[m.config.Listen.String()] = m
			found[m.tunnel.listener.Addr().String()] = m
		}
	}
	return found
}

// listenAnew opens the listener of a tunnel, unless there is one that it gets.
func (f *fleet) listenAnew(ctx context.Context, n *fresh, vacant map[string]*member) error {
	for _, at := range []string{n.config.Listen.String(), boundTo(ctx, n.config.Listen)} {
		m := vacant[at]
		if at == "" || m == nil {
			continue
		}
		n.from = m
		delete(vacant, m.config.Listen.String())
		if m.tunnel == nil {
			return nil
		}
		delete(vacant, m.tunnel.listener.Addr().String())
		return n.tunnel.follows(m.tunnel)
	}
	if n.config.Listen.IsActivated() {
		return fmt.Errorf("--listen %s: sockets are handed over when the process starts; restart it", n.config.Listen)
	}
	return n.tunnel.listen(ctx, nil)
}

// apart refuses two tunnels on one TCP port, of those that there are to be, and one on that of the process.
func (f *fleet) apart(p *plan) error {
	places := slices.Clone(f.beside)
	for _, m := range f.members() {
		if m.tunnel != nil && m.accepts() && p.kept[m.name()] {
			places = append(places, m.tunnel.place())
		}
	}
	for _, n := range p.fresh {
		switch {
		case n.from != nil:
			places = append(places, n.from.place())
		case n.tunnel.listener != nil:
			places = append(places, n.tunnel.place())
		}
	}
	return distinct(places)
}

// drop lets go of what has come to nothing.
func (f *fleet) drop(p *plan) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, n := range p.fresh {
		if n.tunnel != nil {
			errs = append(errs, n.tunnel.close())
		}
		f.forget(n.config.Name, n.ledger)
	}
	return errors.Join(errs...)
}

// commit puts the new roster in the place of the old one, has what left drain, and returns what tells the log.
func (f *fleet) commit(ctx context.Context, p *plan) (told []func(), _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if f.closed {
		return nil, errEnding
	}
	changes := f.changes(p)
	before := f.members()
	next, coming := f.successors(ctx, p)
	next = append(next, f.remains(p)...)
	f.roster.Store(&next)
	f.config = p.config
	for _, m := range coming {
		m.measure(f.metrics)
		if m.tunnel != nil {
			told = append(told, f.serve(m))
		} else {
			told = append(told, m.complain)
			f.again(m)
		}
	}
	for _, m := range before {
		switch {
		case m.removed || p.kept[m.name()]:
		case m.tunnel != nil:
			f.release(m)
		default:
			_ = m.letGo() // nobody has accepted anything there
			f.forget(m.name(), m.ledger)
		}
	}
	if len(changes) > 0 {
		told = append(told, func() { f.log.Info("tunnels changed", changes...) })
	}
	return told, nil
}

// successors are the members that a plan's configuration has, in its order, and those among them that are to come. f.mu is held.
func (f *fleet) successors(ctx context.Context, p *plan) (all, coming []*member) {
	rest := p.fresh // in the order of the configuration
	for i := range p.config.Tunnels {
		c := &p.config.Tunnels[i]
		if p.kept[c.Name] {
			kept := f.unchanged(c)
			kept.origin.Store(c.Origin)
			all = append(all, kept)
			continue
		}
		n := rest[0]
		rest = rest[1:]
		f.ledgers[c.Name] = n.ledger // which the last of that name may have taken with it meanwhile
		m := f.newMember(c, n.ledger)
		m.tunnel = n.tunnel
		if n.from != nil {
			f.inherit(ctx, m, n)
		}
		all, coming = append(all, m), append(coming, m)
	}
	return all, coming
}

// remains are the members that a plan's configuration does not have any more: those that run, or have run, are shown until
// their connections have ended. f.mu is held.
func (f *fleet) remains(p *plan) []*member {
	names := make(map[string]bool)
	for i := range p.config.Tunnels {
		names[p.config.Tunnels[i].Name] = true
	}
	var all []*member
	for _, m := range f.members() {
		switch {
		case names[m.name()]:
		case m.removed:
			all = append(all, m)
		case m.tunnel != nil || f.drains(m.ledger):
			last := f.newMember(m.config, m.ledger)
			last.tunnel, last.removed = m.tunnel, true
			all = append(all, last)
		}
	}
	return all
}

// warnOfProcess tells what a configuration says of the process that only a restart can change, each time that this is
// something else. One reload at a time calls it.
func (f *fleet) warnOfProcess(c *config.Sidecar) {
	names := slices.DeleteFunc(f.start.File.Changed(c.File), func(name string) bool {
		return name == "shutdown-timeout" || name == "shutdown-delay" // which drains go by that begin from now on
	})
	if slices.Equal(names, f.warned) {
		return
	}
	f.warned = names
	if len(names) > 0 {
		f.log.Warn("settings of the process have changed; they take a restart", "keys", names)
	}
}

// inherit gives a member that is to come the listener of one that leaves, and with it all who wait there. If that one has
// closed it meanwhile, on request, it opens its own. f.mu is held.
func (f *fleet) inherit(ctx context.Context, m *member, n *fresh) {
	var got net.Listener
	if from := n.from; from.tunnel == nil {
		got, from.held = from.held, nil
	} else if err := from.tunnel.server.HandOver(); err == nil {
		got, from.tunnel.listener = from.tunnel.listener, nil
	}
	if got != nil {
		m.tunnel.listener = got
		if m.config.KeepAlive != n.from.config.KeepAlive {
			m.tunnel.listener = socket.KeptAlive(m.tunnel.listener, m.config.KeepAlive)
		}
		return
	}
	if err := m.tunnel.listen(ctx, nil); err != nil {
		m.fault = m.locate(errors.Join(err, m.tunnel.close()))
		m.tunnel = nil
	}
}

// changes tells what a plan changes, for the log.
func (f *fleet) changes(p *plan) []any {
	var added, changed, removed []string
	before := make(map[string]bool)
	for _, m := range f.members() {
		before[m.name()] = before[m.name()] || !m.removed
	}
	for _, n := range p.fresh {
		if before[n.config.Name] {
			changed = append(changed, n.config.Name)
		} else {
			added = append(added, n.config.Name)
		}
	}
	after := make(map[string]bool)
	for i := range p.config.Tunnels {
		after[p.config.Tunnels[i].Name] = true
	}
	for _, m := range f.members() {
		if !m.removed && !after[m.name()] {
			removed = append(removed, m.name())
		}
	}
	var attrs []any
	for _, list := range []struct {
		key   string
		names []string
	}{{"added", added}, {"changed", changed}, {"removed", removed}} {
		if len(list.names) > 0 {
			attrs = append(attrs, slog.Any(list.key, list.names))
		}
	}
	return attrs
}
