package proxy

import (
	"context"
	"sync/atomic"
	"time"
)

// standstill is how long nobody may have got a place before one more is let in. No handshake computes for so long. What holds the
// places then waits for something that nobody here knows of, such as a token that does not answer, or a policy's request.
const standstill = 250 * time.Millisecond

// Gate bounds how many TLS handshakes compute at the same time. A handshake holds a place while it computes and gives it up
// while it waits for the network, so that peers who let it wait take no place, however many they are; and a storm of
// handshakes has no more goroutines competing for the processors with established connections than there are places.
// Those who wait for a place get it in turn. When nobody gets one for a while, one more is let in beside those who are late.
//
// All tunnels of a process share one, narrower than there are processors where there are several. Nil lets everybody through.
type Gate struct {
	places chan *place
	made   time.Time
	latest atomic.Int64 // when somebody got a place, in nanoseconds since it was made
}

// NewGate makes a gate that lets width handshakes compute at a time. Zero or less is no bound.
func NewGate(width int) *Gate {
	if width <= 0 {
		return new(Gate)
	}
	g := &Gate{places: make(chan *place, width), made: time.Now()}
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
	spare bool   // the place is one more than there are
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
	default:
		if err := p.wait(); err != nil {
			return err
		}
	}
	p.gate.latest.Store(int64(time.Since(p.gate.made)))
	p.place.yield()
	return nil
}

// wait waits for a place in turn, and takes one more than there are at a standstill.
func (p *pass) wait() error {
	g := p.gate
	stands := time.NewTimer(standstill)
	defer stands.Stop()
	for {
		select {
		case p.place = <-g.places:
			return nil
		case <-p.ctx.Done():
			return &interruptedError{cause: context.Cause(p.ctx)}
		case <-stands.C:
		}
		latest, now := g.latest.Load(), int64(time.Since(g.made))
		left := standstill - time.Duration(now-latest)
		if left <= 0 && g.latest.CompareAndSwap(latest, now) {
			p.place, p.spare = new(place), true
			return nil
		}
		stands.Reset(max(left, standstill/10)) // somebody else was let in, or just got a place
	}
}

// leave gives the place up, if there is one to be given up.
func (p *pass) leave() {
	if p == nil || p.place == nil {
		return
	}
	if !p.spare {
		p.gate.places <- p.place
	}
	p.place, p.spare = nil, false
}
