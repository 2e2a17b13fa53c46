package proxy

import (
	"context"
	"time"
)

// pings are what the goroutine that accepts has been asked; it answers by closing one. There is room for one, so that it
// can be left for a goroutine that does not wait for it at that moment.
type pings chan chan struct{}

// Ping has the goroutine that accepts answer, and returns nil once it does. It answers wherever it may rightly be: waiting for
// a connection, waiting for a place while there are as many connections as may be, pausing after a failure. What keeps
// Accept, or what is done with a connection before its own goroutine has it, from coming to an end keeps it from answering;
// then the context ends, and its cause is the error. A server that does not serve yet, or is closing, has nothing to answer
// for.
//
// A listener without SetDeadline cannot be interrupted in its Accept; of such a one nothing is known, and Ping returns nil.
func (s *Server) Ping(ctx context.Context) error {
	s.init()
	answered, ln := make(chan struct{}), s.wakeable.Load()
	if ln == nil {
		return nil
	}
	select {
	case s.pings <- answered:
	case <-s.inviting.Done():
		return nil
	case <-ctx.Done(): // the one before has not been answered
		return context.Cause(ctx)
	}
	_ = (*ln).SetDeadline(time.Unix(1, 0)) // one that is closed has nobody waiting
	select {
	case <-answered:
		return nil
	case <-s.inviting.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// interruptible is a listener whose Accept can be made to return. No connection is lost by it: whoever waits in the accept
// queue stays there.
type interruptible interface{ SetDeadline(time.Time) error }

// woken answers a ping that has interrupted Accept. The deadline goes first: it must not be that of a ping which comes after
// the answer.
func (s *Server) woken() {
	_ = (*s.wakeable.Load()).SetDeadline(time.Time{}) // Accept tells what is wrong with the listener
	select {
	case answered := <-s.pings:
		close(answered)
	default: // it was answered before it came to interrupt
	}
}
