package upstream

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// minRetry is the first pause after a lookup that failed while no address is known; it doubles up to ResolveInterval.
const minRetry = 250 * time.Millisecond

// errNoAddress is a name that is there and has no address.
var errNoAddress = errors.New("the name has no address")

// follow looks up a target's name again and again until the group is closed.
func (g *Group) follow(target int) {
	first := sync.OnceFunc(g.unknown.Done)
	defer first()
	retry := minRetry
	for {
		addresses, err := g.lookUp(target)
		if g.ctx.Err() != nil {
			return
		}
		pause := g.options.ResolveInterval
		if known := g.resolved(target, addresses, err); !known {
			pause, retry = min(retry, pause), min(2*retry, pause)
		}
		first()
		select {
		case <-time.After(pause):
		case <-g.ctx.Done():
			return
		}
	}
}

// lookUp finds the addresses of a target's name, each once and sorted: of too many it is always the same that are left out.
func (g *Group) lookUp(target int) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	found, err := g.options.Targets[target].Lookup(ctx)
	addresses := make([]netip.Addr, 0, len(found))
	for _, address := range found {
		addresses = append(addresses, address.Unmap())
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	addresses = addresses[:min(len(addresses), maxAddresses)]
	if err == nil && len(addresses) == 0 {
		err = errNoAddress
	}
	return addresses, err
}

// resolved takes note of a lookup, and tells whether any address is known. A lookup that failed leaves those that are.
func (g *Group) resolved(target int, addresses []netip.Addr, err error) (known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, of := &g.names[target], g.options.Targets[target].Name
	before := n.err
	n.err = err
	if err != nil {
		if before == nil {
			g.log.Warn("target's name does not resolve; its last addresses stay in use", "target", of, "error", err, "addresses", len(n.members))
		}
		return len(n.members) > 0
	}
	if before != nil {
		g.log.Info("target's name resolves again", "target", of)
	}
	// Answers come in any order. Those that are known keep theirs, for First.
	var kept []*member
	for _, m := range n.members {
		if at := slices.Index(addresses, m.address); at >= 0 {
			addresses = slices.Delete(addresses, at, at+1)
			kept = append(kept, m)
			continue
		}
		m.forget()
		g.log.Info("target lost an address", "target", of, "address", m.address.String())
	}
	first := n.members == nil
	for _, address := range addresses {
		m := g.newMember(target, address)
		kept = append(kept, m)
		if !first {
			m.since = time.Now()
			g.log.Info("target has a new address", "target", of, "address", address.String())
		}
	}
	n.members = kept
	g.gatherLocked()
	return true
}
