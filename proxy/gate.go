package proxy

import "context"

// Gate bounds how many TLS handshakes compute at the same time. A handshake holds a place while it computes and gives it up
// while it waits for the network, so that peers who let it wait take no place, however many they are; and a storm of
// handshakes has no more goroutines competing for the processors with established connections than there are places.
// Those who wait for a place get it in turn.
//
// All tunnels of a process share one, narrower than there are processors where there are several. Nil lets everybody through.
type Gate struct{ places chan *place }

// NewGate makes a gate that lets width handshakes compute at a time. Zero or less is no bound.
func NewGate(width int) *Gate {
	if width <= 0 {
		return new(Gate)
	}
	g := &Gate{places: make(chan *place, width)}
	for range width {
		g.places <- newPlace()
	}
	return g
}

// pass returns what a handshake goes through the gate with, for as long as the context lasts.
func (g *Gate) pass(ctx context.Context) *pass {
	if g == nil || g.places == nil {
		return nil
	}
	return &pass{ctx: ctx, gate: g}
}

// pass is the way of one handshake, which is one goroutine, through a Gate. Nil goes through without one.
type pass struct {
	ctx   context.Context // of the handshake
	gate  *Gate
	place *place // nil: outside
}

// enter waits for a place, unless it has one. When the handshake's time is over first, it returns an *interruptedError.
//
// Who got a place lets those go first whom the network has something for. The scheduler looks at the network when a
// processor has nothing to run, which is never in a storm of handshakes, or every 10 ms; and each established connection
// needs it twice for every message.
func (p *pass) enter() error {
	if p == nil || p.place != nil {
		return nil
	}
	select {
	case p.place = <-p.gate.places:
		p.place.yield()
		return nil
	case <-p.ctx.Done():
		return &interruptedError{cause: context.Cause(p.ctx)}
	}
}

// leave gives the place up, if there is one to be given up.
func (p *pass) leave() {
	if p != nil && p.place != nil {
		p.gate.places <- p.place
		p.place = nil
	}
}
