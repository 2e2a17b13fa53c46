package sidecar

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// lost is what becomes of a member whose listener has failed.
func (f *fleet) lost(m *member, err error) {
	if !f.tolerant {
		f.report(err)
		return
	}
	err = m.locate(err)
	f.log.Error("a tunnel has failed; it is tried again", "tunnel", m.name(), "error", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !slices.Contains(f.members(), m) || !m.accepts() {
		return
	}
	heir := f.newMember(m.config, m.ledger)
	heir.fault = err
	f.replace(m, heir)
	f.release(m)
	f.again(heir)
}

// again has a member tried again that does not run, and that no reload knows of as one that has failed.
func (f *fleet) again(m *member) {
	f.running.Go(func() {
		select {
		case f.changed <- m:
		case <-f.ctx.Done():
		}
	})
}

// replace puts one member in the place of another. f.mu is held.
func (f *fleet) replace(m, heir *member) {
	next := slices.Clone(f.members())
	next[slices.Index(next, m)] = heir
	heir.origin.Store(m.origin.Load())
	f.roster.Store(&next)
	heir.measure(f.metrics)
}

// retry tries to start a member that does not run.
func (f *fleet) retry(ctx context.Context, m *member) error {
	t, err := f.build(ctx, m.config, m.ledger)
	if err != nil {
		m.failed(m.locate(err))
		return err
	}
	tell, err := f.admit(ctx, m, t)
	if err != nil {
		err = errors.Join(err, t.close())
		m.failed(m.locate(err))
		return err
	}
	tell()
	return nil
}

// admit has a tunnel serve in the place of a member that has none, and returns what tells the log.
func (f *fleet) admit(ctx context.Context, m *member, t *tunnel) (tell func(), _ error) {
	if m.held == nil {
		if err := t.listen(ctx, nil); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if f.closed || !slices.Contains(f.members(), m) {
		return nil, errUnwanted
	}
	others := slices.Clone(f.beside)
	for _, other := range f.members() {
		if other.tunnel != nil && other.accepts() {
			others = append(others, other.tunnel.place())
		}
	}
	ln := cmp.Or(m.held, t.listener)
	if err := (place{"--listen " + m.config.Listen.String(), ln.Addr()}).distinctFrom(others); err != nil {
		return nil, err
	}
	t.listener, m.held = ln, nil
	heir := f.newMember(m.config, m.ledger)
	heir.tunnel = t
	f.replace(m, heir)
	return f.serve(heir), nil
}

// errUnwanted is what becomes of a tunnel that was put together too late.
var errUnwanted = errors.New("the tunnel is not wanted any more")
