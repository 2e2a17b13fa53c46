package proxy

import "context"

// Gate bounds how many TLS handshakes compute at the same time. A handshake holds a place while it computes and gives it up
// while it waits for the network, so that peers who let it wait take no place, however many they are; and a storm of
// handshakes has no more goroutines competing for the processors with established connections than there are places.
// Those who wait for a place get it in turn.
//
// All tunnels of a process share one, as wide as there are processors. Nil lets everybody through.
type Gate struct{ places slots }

// NewGate makes a gate that lets width handshakes compute at a time. Zero or less is no bound.
func NewGate(width int) *Gate { return &Gate{places: newSlots(width)} }

// pass returns what a handshake goes through the gate with, for as long as the context lasts.
func (g *Gate) pass(ctx context.Context) *pass {
	if g == nil {
		return nil
	}
	return &pass{ctx: ctx, places: g.places}
}

// pass is the way of one handshake, which is one goroutine, through a Gate. Nil goes through without one.
type pass struct {
	ctx    context.Context // of the handshake
	places slots
	inside bool
}

// enter waits for a place. When the handshake's time is over first, it returns an *interruptedError.
func (p *pass) enter() error {
	if p == nil {
		return nil
	}
	if !p.places.take(p.ctx) {
		return &interruptedError{cause: context.Cause(p.ctx)}
	}
	p.inside = true
	return nil
}

// leave gives the place up, if there is one to be given up.
func (p *pass) leave() {
	if p != nil && p.inside {
		p.inside = false
		p.places.give()
	}
}
