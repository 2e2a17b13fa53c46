package sidecar

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// reload runs one reload at a time. Its methods are called by Run's goroutine alone, but for run, which does the work in
// another, so that neither a slow disk nor a slow reader of the log keeps a signal waiting.
type reload struct {
	ctx     context.Context
	sidecar *Sidecar
	done    chan error // what run returned
	running bool
	waiting map[*tunnel]bool // have to be reloaded after it
	causes  []string         // … for these reasons
	worker  sync.WaitGroup
}

func newReload(ctx context.Context, s *Sidecar) *reload {
	return &reload{ctx: ctx, sidecar: s, done: make(chan error, 1), waiting: make(map[*tunnel]bool)}
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
	cause := strings.Join(r.causes, ", ")
	r.running, r.causes = true, nil
	clear(r.waiting)
	r.sidecar.state.Reloading()
	r.worker.Go(func() { r.done <- r.run(cause, tunnels) })
}

// run reloads tunnels, and returns what stands wrong with all of them then: a tunnel that fails keeps what it had, and stays a
// failure until a reload of its own succeeds.
func (r *reload) run(cause string, tunnels []*tunnel) error {
	r.sidecar.log.Info("reloading", "cause", cause)
	errs := make([]error, len(tunnels))
	for i, t := range tunnels {
		t.reloadError = r.sidecar.wrapTunnel(t, t.source.Reload(r.ctx))
		errs[i] = t.reloadError
	}
	if err := errors.Join(errs...); err != nil {
		r.sidecar.log.Error("reload failed; what was loaded before stays in use", "error", err)
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
	r.running = false
	r.next()
}

// wait returns when no reload is in progress.
func (r *reload) wait() { r.worker.Wait() }
