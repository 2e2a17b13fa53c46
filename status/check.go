package status

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// sharing is how long after its start a run of a check answers for new callers.
const sharing = time.Second

// errCheckClosed is the answer of a check that is no longer in use.
var errCheckClosed = errors.New("backend check: closed")

// Check finds out whether a backend is up, for as many callers as there are:
// those who ask within a second, or while a run is under way, share one run and
// its answer. The backend sees one run at a time and one in a second, however
// many ask. It runs only when someone asks. Make it with [NewCheck]; all methods
// are safe for concurrent use.
type Check struct {
	run     func(context.Context) error
	timeout time.Duration

	// ctx ends when the Check is closed.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	latest *answer
	runs   sync.WaitGroup

	outcome atomic.Pointer[outcome] // of the latest run that is over; nil before
}

// outcome is how a run ended, and when.
type outcome struct {
	err error
	at  time.Time
}

// answer is one run of a check, and its outcome once done is closed.
type answer struct {
	since time.Time
	done  chan struct{}
	err   error
}

// isOver tells whether the run has ended.
func (a *answer) isOver() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// NewCheck returns a Check that calls run to find out: nil means that the
// backend is up. The context of each run ends after the timeout, which must be
// positive; run must return soon after that. The caller ends the Check with
// [Check.Close].
func NewCheck(run func(context.Context) error, timeout time.Duration) *Check {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Check{run: run, timeout: timeout, ctx: ctx, cancel: cancel}
}

// Do returns nil if the backend is up, and otherwise the error that tells why
// not. If ctx ends first, Do returns its cause, and the run goes on for others.
func (c *Check) Do(ctx context.Context) error {
	a := c.join()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join returns the run that answers for a caller who asks now, and starts one
// if there is none.
func (c *Check) join() *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.latest; a != nil && (!a.isOver() || time.Since(a.since) < sharing) {
		return a
	}
	a := &answer{since: time.Now(), done: make(chan struct{})}
	if err := context.Cause(c.ctx); err != nil {
		a.err = err
		close(a.done)
		return a
	}
	c.latest = a
	c.runs.Go(func() { c.answer(a) })
	return a
}

// answer runs the check, bounded, for all who wait for a.
func (c *Check) answer(a *answer) {
	defer close(a.done)
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	a.err = c.run(ctx)
	c.outcome.Store(&outcome{err: a.err, at: time.Now()})
}

// Latest returns what the latest run found out and when, as [Check.Do] does, but never asks the backend. The time is zero
// while there was no run.
func (c *Check) Latest() (at time.Time, err error) {
	if o := c.outcome.Load(); o != nil {
		return o.at, o.err
	}
	return time.Time{}, nil
}

// Close cancels a run that is under way, waits for it, and leaves a Check that
// refuses to answer. It may be called more than once.
func (c *Check) Close() {
	c.mu.Lock()
	c.cancel(errCheckClosed)
	c.latest = nil
	c.mu.Unlock()
	c.runs.Wait()
}
