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
	tell := s.fleet.run()
	if s.port != nil {
		serving.Go(func() { s.report(s.port.serve()) })
	}
	serving.Go(func() { // no signal waits for who reads the log
		tell()
		if s.port != nil {
			s.log.Info("status port listening", "status", s.port.url())
		}
	})
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
	expiry := newExpiry(s.log, s.fleet.tunnels)
	serving.Go(func() { expiry.run(ctx) })
	serving.Go(func() { newRest(s.log).run(ctx) })
	reload := newReload(ctx, s, expiry.again)
	reload.pending(s.parts())
	if s.file != nil {
		s.fleet.watch(ctx, s.file)
	}
	if s.door != nil {
		s.fleet.watch(ctx, s.door)
	}
	cause, failure := s.live(reload, signals)
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
	if err == nil {
		return
	}
	select {
	case s.failed <- err:
	default: // one is enough
	}
}

// live is the loop between start and drain. It returns what ended it, and the error if that was a failure.
func (s *Sidecar) live(reload *reload, signals <-chan os.Signal) (cause string, failure error) {
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
		case p := <-s.fleet.changed:
			reload.want(s.describe(p), p)
		case result := <-reload.done:
			reload.end(result)
		case <-reload.retry.C:
			reload.again()
		case <-s.shutdown:
			return byRequest, nil
		case err := <-s.failed:
			return "a listener failed", err
		}
	}
}

// describe says for the log why a part is to be reloaded that has told of itself.
func (s *Sidecar) describe(p part) string {
	what := "the status port"
	m, isTunnel := p.(*member)
	switch {
	case isTunnel && m.tunnel == nil:
		return "tunnel " + m.name() + " has failed"
	case isTunnel:
		what = "tunnel " + m.name()
	case s.file != nil && p == part(s.file):
		what = "--config " + s.config.File.Path
	}
	return what + " has new material"
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

// drain closes the listeners, after --shutdown-delay where nothing has failed, and waits for the connections: until they have
// ended, the time is up, or a second signal comes.
// Signals to reload are ignored.
func (s *Sidecar) drain(cause string, failure error, signals <-chan os.Signal) error {
	s.fleet.end()
	limit, delay := s.fleet.limits()
	if failure != nil {
		delay = 0
	}
	s.state.Stopping(time.Now().Add(delay + limit))

	ctx, cancel := context.WithTimeoutCause(context.Background(), delay+limit,
		fmt.Errorf("%w after --shutdown-timeout %v", errForced, limit))
	defer cancel()
	ctx, force := context.WithCancelCause(ctx)
	defer force(nil)

	drained := make(chan error, 1)
	go func() { drained <- s.shutDown(ctx, delay, cause, failure) }()
	forced := ctx.Done()
	var overdue <-chan time.Time
	// A service manager sends its signal to a process all the same whose status port was asked before, as in a preStop hook.
	signalled := cause != byRequest
	for {
		select {
		case err := <-drained:
			return err
		case sig := <-signals:
			switch {
			case isReload(sig):
			case !signalled:
				signalled = true
			default:
				force(fmt.Errorf("%w by a second signal, %s", errForced, signalName(sig)))
			}
		case <-forced:
			forced, overdue = nil, time.After(endGrace)
		case <-overdue:
			return context.Cause(ctx)
		}
	}
}

// byRequest is the cause of a drain that no signal began.
const byRequest = "request to /_shutdown"

// errForced is a drain that did not come to its own end.
var errForced = errors.New("open connections were closed")

// shutDown shuts all tunnels down, after a delay in which they go on as if nothing were: who looks at /readyz sends no more
// connections by then. When the context ends while connections are open, its cause is the error.
func (s *Sidecar) shutDown(ctx context.Context, delay time.Duration, cause string, failure error) error {
	done := make(chan error, 1)
	go func() {
		wait := time.NewTimer(delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		done <- s.fleet.shutDown(ctx)
	}()
	logged := make(chan struct{})
	go func() { // nothing waits for long for who reads the log
		defer close(logged)
		switch log := s.log.With("cause", cause); {
		case failure != nil:
			log.Error("shutting down", "error", failure)
		case delay > 0:
			log.Info("shutting down; connections are accepted for a while", "delay", delay)
		default:
			log.Info("shutting down")
		}
	}()
	err := <-done
	_ = within(endGrace, func() error {
		<-logged
		return nil
	})
	return err
}
