package sidecar

import (
	"context"
	"errors"
	"strings"
	"sync"
)

// reload runs one reload at a time. Its methods are called by Run's goroutine alone; the work is done in another, so that a
// slow disk keeps no signal waiting.
type reload struct {
	ctx     context.Context
	sidecar *Sidecar
	done    chan error // of the reload in progress: how it ended
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
	r.causes = append(r.causes, cause)
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
	r.sidecar.log.Info("reloading", "cause", strings.Join(r.causes, ", "))
	r.sidecar.state.Reloading()
	r.running, r.causes = true, nil
	clear(r.waiting)
	r.worker.Go(func() {
		errs := make([]error, len(tunnels))
		for i, t := range tunnels {
			t.reloadError = r.sidecar.wrapTunnel(t, t.source.Reload(r.ctx))
			errs[i] = t.reloadError
		}
		r.done <- errors.Join(errs...)
	})
}

// end takes the outcome of the reload in progress. A tunnel that fails keeps what it had, and stays a failure until a reload
// of its own succeeds.
func (r *reload) end(err error) {
	if err != nil {
		r.sidecar.log.Error("reload failed; what was loaded before stays in use", "error", err)
	} else {
		r.sidecar.log.Info("reloaded")
	}
	var failures []error
	for _, t := range r.sidecar.tunnels {
		failures = append(failures, t.reloadError)
	}
	r.sidecar.state.Reloaded(errors.Join(failures...))
	r.running = false
	r.next()
}

// wait returns when no reload is in progress.
func (r *reload) wait() { r.worker.Wait() }
