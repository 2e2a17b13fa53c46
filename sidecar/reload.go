package sidecar

import (
	"context"
	"errors"
	"sync"
)

// reload runs one reload at a time. Its methods are called by Run's goroutine alone; the work is done in another, so that a
// slow disk keeps no signal waiting.
type reload struct {
	ctx     context.Context
	sidecar *Sidecar
	done    chan error // of the reload in progress
	running bool
	again   string // why there has to be another one after it; "" for none
	worker  sync.WaitGroup
}

func newReload(ctx context.Context, s *Sidecar) *reload {
	return &reload{ctx: ctx, sidecar: s, done: make(chan error, 1)}
}

// begin starts a reload. While one is in progress it notes that files may have changed since they were read, so that another
// one follows.
func (r *reload) begin(cause string) {
	if r.running {
		r.again = cause
		return
	}
	r.running = true
	r.sidecar.state.Reloading()
	r.sidecar.log.Info("reloading", "cause", cause)
	r.worker.Go(func() { r.done <- r.sidecar.reloadTunnels(r.ctx) })
}

// end takes the outcome of the reload in progress.
func (r *reload) end(err error) {
	r.running = false
	r.sidecar.state.Reloaded(err)
	if err != nil {
		r.sidecar.log.Error("reload failed; what was loaded before stays in use", "error", err)
	} else {
		r.sidecar.log.Info("reloaded")
	}
	if cause := r.again; cause != "" {
		r.again = ""
		r.begin(cause)
	}
}

// wait returns when no reload is in progress.
func (r *reload) wait() { r.worker.Wait() }

// reloadTunnels loads every tunnel's identity and trust anew. One that fails keeps what it had and does not keep the others
// from theirs.
func (s *Sidecar) reloadTunnels(ctx context.Context) error {
	var errs []error
	for _, t := range s.tunnels {
		errs = append(errs, s.wrapTunnel(t, t.source.Reload(ctx)))
	}
	return errors.Join(errs...)
}
