package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// reload runs one reload at a time. Its methods are called by Run's goroutine alone, but for run, which does the work in
// another, so that neither a slow disk nor a slow reader of the log keeps a signal waiting.
type reload struct {
	ctx     context.Context
	sidecar *Sidecar
	changed func()
	done    chan error // what run returned
	running bool
	waiting map[*tunnel]bool // have to be reloaded after it
	causes  []string         // … for these reasons
	asked   bool             // … because somebody wants to know how it ends
	worker  sync.WaitGroup
}

// newReload calls changed after each reload.
func newReload(ctx context.Context, s *Sidecar, changed func()) *reload {
	return &reload{ctx: ctx, sidecar: s, changed: changed, done: make(chan error, 1), waiting: make(map[*tunnel]bool)}
}

// ask has tunnels reloaded for somebody who then looks into the log.
func (r *reload) ask(cause string, tunnels ...*tunnel) {
	r.asked = true
	r.want(cause, tunnels...)
}

// want has tunnels reloaded: at once, or after the reload in progress, for which their files may have changed too late.
func (r *reload) want(cause string, tunnels ...*tunnel) {
	for _, t := range tunnels {
		r.waiting[t] = true
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
	var tunnels []*tunnel
	for _, t := range r.sidecar.tunnels {
		if r.waiting[t] {
			tunnels = append(tunnels, t)
		}
	}
	cause, asked := strings.Join(r.causes, ", "), r.asked
	r.running, r.causes, r.asked = true, nil, false
	clear(r.waiting)
	r.sidecar.state.Reloading()
	r.worker.Go(func() { r.done <- r.run(cause, asked, tunnels) })
}

// run reloads tunnels, and returns what stands wrong with all of them then: a tunnel that fails keeps what it had, and stays a
// failure until a reload of its own succeeds. A failure that a timer meets again and again is logged once; whoever asked for
// the reload is told in any case.
func (r *reload) run(cause string, asked bool, tunnels []*tunnel) error {
	r.sidecar.log.Info("reloading", "cause", cause)
	level := slog.LevelDebug
	errs := make([]error, len(tunnels))
	for i, t := range tunnels {
		err := r.sidecar.wrapTunnel(t, t.reload(r.ctx))
		if err != nil && (asked || t.reloadError == nil || t.reloadError.Error() != err.Error()) {
			level = slog.LevelError
		}
		t.reloadError, errs[i] = err, err
		if m := r.sidecar.metrics; m != nil {
			m.Reloaded(t.config.Name, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.sidecar.log.Log(r.ctx, level, "reload failed; what was loaded before stays in use", "error", err)
	} else {
		r.sidecar.log.Info("reloaded")
	}
	var standing []error
	for _, t := range r.sidecar.tunnels {
		standing = append(standing, t.reloadError)
	}
	return errors.Join(standing...)
}

// end takes what run returned.
func (r *reload) end(standing error) {
	r.sidecar.state.Reloaded(standing)
	r.changed()
	r.running = false
	r.next()
}

// wait returns when no reload is in progress.
func (r *reload) wait() { r.worker.Wait() }
