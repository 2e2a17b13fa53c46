package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// reloadLimit is how long the reload of one part may take. What it waits for then may never come: a disk, a token.
const reloadLimit = 30 * time.Second

// errReloadLimit is the error of a reload that took longer.
var errReloadLimit = fmt.Errorf("loading took longer than %v: a file, a token or an agent does not answer", reloadLimit)

// reloadHint is what to do about a reload that failed.
const reloadHint = "once put right it is loaded by itself, within a minute"

// A failed reload is tried again after a pause that doubles from the first to the second: what was in the way may be gone
// without a file having changed, be it a token, an open file too many, or the time before which a certificate is not valid.
const (
	minRetryPause = 5 * time.Second
	maxRetryPause = time.Minute
)

// reload runs one reload at a time. Its methods are called by Run's goroutine alone, but for run, which does the work in
// another, so that neither a slow disk nor a slow reader of the log keeps a signal waiting.
type reload struct {
	ctx     context.Context
	sidecar *Sidecar
	changed func()
	done    chan error // what run returned
	running bool
	waiting map[part]bool            // have to be reloaded after it
	causes  []string                 // … for these reasons
	asked   bool                     // … because somebody wants to know how it ends
	failed  map[part]error           // those whose latest reload failed; run's
	overdue map[part]<-chan struct{} // those whose latest reload has not come back; run's
	retry   *time.Timer              // to try again what failed; stopped while nothing did
	pause   time.Duration            // before the next try; 0 while nothing failed
	worker  sync.WaitGroup
}

// part is what can be reloaded by itself: a tunnel, the file that says which there are, or the door of the status port.
type part interface {
	reload(context.Context) error
	news() <-chan struct{} // receives when a reload would bring something new; nil where nobody knows
	name() string          // of the tunnel; empty if it is none
}

// newReload calls changed after each reload.
func newReload(ctx context.Context, s *Sidecar, changed func()) *reload {
	r := &reload{
		ctx: ctx, sidecar: s, changed: changed, done: make(chan error, 1),
		waiting: make(map[part]bool), failed: make(map[part]error), overdue: make(map[part]<-chan struct{}), retry: time.NewTimer(maxRetryPause),
	}
	r.retry.Stop()
	return r
}

// pending has parts tried again that have failed before there was a reload: tunnels that have not started.
func (r *reload) pending(parts []part) {
	for _, p := range parts {
		if m, ok := p.(*member); ok && m.why() != nil {
			r.failed[p] = m.why()
			r.pause = minRetryPause
		}
	}
	if r.pause > 0 {
		r.retry.Reset(r.pause)
	}
}

// again has the parts reloaded whose latest reload failed.
func (r *reload) again() {
	if r.running {
		return // and its end sets the timer anew
	}
	var parts []part
	for p, err := range r.failed {
		if err != nil {
			parts = append(parts, p)
		}
	}
	if len(parts) > 0 {
		r.want(causeRetry, parts...)
	}
}

// causeRetry is the cause of a reload that nobody asked for and nothing changed for; it is not worth a line of log.
const causeRetry = "the latest one failed"

// ask has parts reloaded for somebody who then looks into the log.
func (r *reload) ask(cause string, parts ...part) {
	r.asked = true
	r.want(cause, parts...)
}

// want has parts reloaded: at once, or after the reload in progress, for which their files may have changed too late.
func (r *reload) want(cause string, parts ...part) {
	for _, p := range parts {
		r.waiting[p] = true
	}
	if !slices.Contains(r.causes, cause) {
		r.causes = append(r.causes, cause)
	}
	r.next()
}

// next begins what is waiting, unless a reload is in progress.
func (r *reload) next() {
	if r.running || len(r.waiting) == 0 {
		return
	}
	var parts []part
	for _, p := range r.sidecar.parts() {
		if r.waiting[p] {
			parts = append(parts, p)
		}
	}
	cause, asked := strings.Join(r.causes, ", "), r.asked
	r.running, r.causes, r.asked = true, nil, false
	clear(r.waiting)
	r.sidecar.state.Reloading()
	r.worker.Go(func() { r.done <- r.run(cause, asked, parts) })
}

// run reloads parts, and returns what stands wrong with all of them then: a part that fails keeps what it had, and stays a
// failure until a reload of its own succeeds. A failure that a timer meets again and again is logged once; whoever asked for
// the reload is told in any case.
func (r *reload) run(cause string, asked bool, parts []part) error {
	level := slog.LevelInfo
	if cause == causeRetry {
		level = slog.LevelDebug
	}
	r.sidecar.log.Log(r.ctx, level, "reloading", "cause", cause)
	level = slog.LevelDebug
	errs := make([]error, len(parts))
	for i, p := range parts {
		if !slices.Contains(r.sidecar.parts(), p) {
			continue // it was replaced, or removed, by what the file says
		}
		err := r.sidecar.locate(p, r.one(p))
		if before := r.failed[p]; err != nil && (asked || before == nil || before.Error() != err.Error()) {
			level = slog.LevelError
		}
		r.failed[p], errs[i] = err, err
		if m := r.sidecar.metrics; m != nil {
			m.Reloaded(p.name(), err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.sidecar.log.Log(r.ctx, level, "reload failed; what was loaded before stays in use", "error", err, "hint", reloadHint)
	} else {
		r.sidecar.log.Info("reloaded")
	}
	var standing []error
	now := r.sidecar.parts()
	for _, p := range now {
		standing = append(standing, r.failed[p])
	}
	gone := func(p part) bool { return !slices.Contains(now, p) }
	maps.DeleteFunc(r.failed, func(p part, _ error) bool { return gone(p) })
	maps.DeleteFunc(r.overdue, func(p part, _ <-chan struct{}) bool { return gone(p) })
	return errors.Join(standing...)
}

// one reloads a part, in bounded time. What does not come back by then, from a disk that does not answer, goes on alone; the
// part is not reloaded again before it has come back.
func (r *reload) one(p part) error {
	ctx, cancel := context.WithTimeoutCause(r.ctx, reloadLimit, errReloadLimit)
	defer cancel()
	if earlier := r.overdue[p]; earlier != nil {
		select {
		case <-earlier:
			delete(r.overdue, p)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	done, back := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(back)
		done <- p.reload(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		r.overdue[p] = back
		return context.Cause(ctx)
	}
}

// end takes what run returned.
func (r *reload) end(standing error) {
	r.sidecar.state.Reloaded(standing)
	r.changed()
	r.running = false
	if standing == nil {
		r.pause = 0
		r.retry.Stop()
	} else {
		r.pause = min(max(2*r.pause, minRetryPause), maxRetryPause)
		r.retry.Reset(r.pause)
	}
	r.next()
}

// wait returns when no reload is in progress.
func (r *reload) wait() {
	r.retry.Stop()
	r.worker.Wait()
}
