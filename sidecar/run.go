package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// endGrace is how long the end of the process may wait for what cannot be interrupted: a disk that does not answer, a reader
// of the log that does not read.
const endGrace = time.Second

// Run accepts connections until it is told to end: by SIGTERM, SIGINT or a request to /_shutdown. Then it drains. It returns
// nil when all connections ended by themselves, and otherwise why it ended: a listener that failed, a drain that took longer
// than --shutdown-timeout, a second signal. Nothing of the Sidecar is left running when it returns, but what cannot be
// interrupted. Run is called once.
func (s *Sidecar) Run(signals <-chan os.Signal) error {
	var serving sync.WaitGroup
	for _, t := range s.tunnels {
		serving.Go(func() { s.report(s.wrap(t.name(), t.serve())) })
		attrs := []any{
			"tunnel", t.config.Name, "mode", string(t.config.Mode),
			"listen", found(t.config.Listen, t.listener), "target", t.config.Target.String(),
		}
		if !t.config.Proxy.IsZero() {
			attrs = append(attrs, "proxy", t.config.Proxy.String())
		}
		s.log.Info("listening", attrs...)
	}
	if s.port != nil {
		serving.Go(func() { s.report(s.port.serve()) })
		s.log.Info("status port listening", "status", s.port.url())
	}
	watching, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	if s.netstat != nil {
		serving.Go(func() { s.netstat.Run(watching) }) // to the end of the drain, as the status port
	}
	if s.metrics != nil {
		serving.Go(func() { s.watchPending(watching) })
	}
	s.state.Listening()
	sending := s.send()
	stopNotices := s.sendNotices()

	ctx, cancel := context.WithCancel(context.Background())
	expiry := newExpiry(s.log, s.tunnels)
	serving.Go(func() { expiry.run(ctx) })
	reload := newReload(ctx, s, expiry.again)
	cause, failure := s.live(ctx, reload, signals)
	cancel()
	err := s.drain(cause, failure, signals)
	sending.end()
	closing := within(endGrace, func() error {
		reload.wait()
		stopNotices()
		err := s.close()
		unwatch()
		serving.Wait()
		s.log.Info("stopped")
		return errors.Join(err, s.logged())
	})
	return errors.Join(failure, err, closing)
}

// within runs f and returns its error, or nil when it takes longer than the limit; f then goes on until the process ends.
func within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return nil
	}
}

// report takes note of a listener that gave up.
func (s *Sidecar) report(err error) {
	if err != nil {
		s.failed <- err
	}
}

// live is the loop between start and drain. It returns what ended it, and the error if that was a failure.
func (s *Sidecar) live(ctx context.Context, reload *reload, signals <-chan os.Signal) (cause string, failure error) {
	ctx, cancel := context.WithCancel(ctx)
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
				return signalName(sig), nil
			}
			reload.ask(signalName(sig), s.parts()...)
		case <-tick:
			reload.want("--timed-reload", s.parts()...)
		case p := <-changed:
			reload.want(describe(p)+" has new material", p)
		case result := <-reload.done:
			reload.end(result)
		case <-reload.retry.C:
			reload.again()
		case <-s.shutdown:
			return "request to /_shutdown", nil
		case err := <-s.failed:
			return "a listener failed", err
		}
	}
}

// watch passes on which parts have something new to load, until the context ends.
func (s *Sidecar) watch(ctx context.Context) (<-chan part, *sync.WaitGroup) {
	changed, watching := make(chan part), new(sync.WaitGroup)
	for _, p := range s.parts() {
		if news := p.news(); news != nil {
			watching.Go(func() { passOn(ctx, p, news, changed) })
		}
	}
	return changed, watching
}

// describe names a part for the log.
func describe(p part) string {
	if p.name() == "" {
		return "the status port"
	}
	return "tunnel " + p.name()
}

// passOn sends the part for each piece of news, until the context ends.
func passOn(ctx context.Context, p part, news <-chan struct{}, changed chan<- part) {
	for {
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
		select {
		case changed <- p:
		case <-ctx.Done():
			return
		}
	}
}

// drain closes the listeners and waits for the connections: until they have ended, the time is up, or a second signal comes.
// Signals to reload are ignored.
func (s *Sidecar) drain(cause string, failure error, signals <-chan os.Signal) error {
	limit := s.config.ShutdownTimeout
	s.state.Stopping(time.Now().Add(limit))

	ctx, cancel := context.WithTimeoutCause(context.Background(), limit,
		fmt.Errorf("%w after --shutdown-timeout %v", errForced, limit))
	defer cancel()
	ctx, force := context.WithCancelCause(ctx)
	defer force(nil)

	drained := make(chan error, 1)
	go func() { drained <- s.shutdownTunnels(ctx, cause, failure) }()
	forced := ctx.Done()
	var overdue <-chan time.Time
	for {
		select {
		case err := <-drained:
			return err
		case sig := <-signals:
			if !isReload(sig) {
				force(fmt.Errorf("%w by a second signal, %s", errForced, signalName(sig)))
			}
		case <-forced:
			forced, overdue = nil, time.After(endGrace)
		case <-overdue:
			return context.Cause(ctx)
		}
	}
}

// errForced is a drain that did not come to its own end.
var errForced = errors.New("open connections were closed")

// shutdownTunnels shuts all tunnels down side by side. When the context ends while connections are open, its cause is the
// error.
func (s *Sidecar) shutdownTunnels(ctx context.Context, cause string, failure error) error {
	errs := make([]error, len(s.tunnels))
	var all sync.WaitGroup
	for i, t := range s.tunnels {
		all.Go(func() { errs[i] = t.server.Shutdown(ctx) })
	}
	if failure != nil {
		s.log.Error("shutting down", "cause", cause, "error", failure)
	} else {
		s.log.Info("shutting down", "cause", cause)
	}
	all.Wait()
	if errors.Join(errs...) != nil {
		return context.Cause(ctx)
	}
	return nil
}
