package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Run accepts connections until it is told to end: by SIGTERM, SIGINT or a request to /_shutdown. Then it drains. It returns
// nil when all connections ended by themselves, and otherwise why it ended: a listener that failed, a drain that took longer
// than --shutdown-timeout, a second signal. Nothing of the Sidecar is left running when it returns; Run is called once.
func (s *Sidecar) Run(signals <-chan os.Signal) error {
	var serving sync.WaitGroup
	for _, t := range s.tunnels {
		serving.Go(func() { s.report(s.wrapTunnel(t, t.serve())) })
		s.log.Info("listening", "tunnel", t.config.Name, "mode", string(t.config.Mode),
			"listen", t.config.Listen.String(), "target", t.config.Target.String())
	}
	if s.port != nil {
		serving.Go(func() { s.report(s.port.serve()) })
		s.log.Info("status port listening", "status", s.port.address.String())
	}
	s.state.Listening()

	cause := s.live(signals)
	err := s.drain(signals)
	closing := s.close()
	serving.Wait()
	s.log.Info("stopped")
	return errors.Join(cause, err, closing)
}

// report takes note of a listener that gave up.
func (s *Sidecar) report(err error) {
	if err != nil {
		s.failed <- err
	}
}

// live is the loop between start and drain. It returns nil when the end was asked for, else the failure that brings it.
func (s *Sidecar) live(signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	reload := newReload(ctx, s)
	defer reload.wait()
	changed, watching := s.watch(ctx)
	defer watching.Wait()
	defer cancel()

	var tick <-chan time.Time
	if s.config.TimedReload > 0 {
		ticker := time.NewTicker(s.config.TimedReload)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case sig := <-signals:
			if !isReload(sig) {
				s.log.Info("shutting down", "cause", sig.String())
				return nil
			}
			reload.want(sig.String(), s.tunnels...)
		case <-tick:
			reload.want("--timed-reload", s.tunnels...)
		case t := <-changed:
			reload.want("tunnel "+t.config.Name+" has new material", t)
		case err := <-reload.done:
			reload.end(err)
		case <-s.shutdown:
			s.log.Info("shutting down", "cause", "request to /_shutdown")
			return nil
		case err := <-s.failed:
			s.log.Error("shutting down", "cause", "a listener failed", "error", err)
			return err
		}
	}
}

// watch passes on which tunnels have something new to load, until the context ends.
func (s *Sidecar) watch(ctx context.Context) (<-chan *tunnel, *sync.WaitGroup) {
	changed, watching := make(chan *tunnel), new(sync.WaitGroup)
	for _, t := range s.tunnels {
		if news := t.source.Changed(); news != nil {
			watching.Go(func() { t.passOn(ctx, news, changed) })
		}
	}
	return changed, watching
}

// drain closes the listeners and waits for the connections: until they have ended, the time is up, or a second signal comes.
func (s *Sidecar) drain(signals <-chan os.Signal) error {
	limit := s.config.ShutdownTimeout
	s.state.Stopping(time.Now().Add(limit))

	ctx, cancel := context.WithTimeoutCause(context.Background(), limit,
		fmt.Errorf("%w after --shutdown-timeout %v", errForced, limit))
	defer cancel()
	ctx, force := context.WithCancelCause(ctx)
	defer force(nil)

	drained := make(chan error, 1)
	go func() { drained <- s.shutdownTunnels(ctx) }()
	for {
		select {
		case err := <-drained:
			return err
		case sig := <-signals:
			if isReload(sig) {
				s.log.Info("not reloading while shutting down", "cause", sig.String())
				continue
			}
			force(fmt.Errorf("%w by a second %s", errForced, sig))
		}
	}
}

// errForced is a drain that did not come to its own end.
var errForced = errors.New("open connections were closed")

// shutdownTunnels shuts all tunnels down side by side. When the context ends first, its cause is the error.
func (s *Sidecar) shutdownTunnels(ctx context.Context) error {
	errs := make([]error, len(s.tunnels))
	var all sync.WaitGroup
	for i, t := range s.tunnels {
		all.Go(func() { errs[i] = t.server.Shutdown(ctx) })
	}
	all.Wait()
	if errors.Join(errs...) != nil {
		return context.Cause(ctx)
	}
	return nil
}
