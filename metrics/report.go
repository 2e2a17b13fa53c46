package metrics

import (
	"context"
	"log/slog"
	"time"
)

// The times of a report.
const (
	reportTimeout = 10 * time.Second // for one reading to arrive
	lastTimeout   = time.Second      // for the last one, which the end of the process waits for
	minRetry      = time.Second      // from a failure to the next attempt; it doubles
	maxRetry      = time.Minute
)

// report is a place to which readings are sent again and again.
type report struct {
	every time.Duration
	send  func(context.Context) error // takes a reading and sends it; bounded by its context
	log   *slog.Logger                // names the place
}

// run sends readings until the context ends, and then a last one. A place that
// takes none is tried again after a pause that doubles. What could not be sent
// is not kept: the next reading has it all, since nothing counts from zero
// again.
func (r *report) run(ctx context.Context) {
	pause := time.Duration(0) // 0: the latest reading arrived
	for {
		wait := time.NewTimer(r.wait(pause))
		select {
		case <-wait.C:
			pause = r.attempt(ctx, reportTimeout, pause)
		case <-ctx.Done():
			wait.Stop()
			r.attempt(context.WithoutCancel(ctx), lastTimeout, pause)
			return
		}
	}
}

// wait is how long to wait for the next attempt.
func (r *report) wait(pause time.Duration) time.Duration {
	if pause == 0 {
		return r.every
	}
	return pause
}

// attempt sends one reading, and returns the pause that follows. Of a row of
// failures only the first is logged as one.
func (r *report) attempt(ctx context.Context, limit, pause time.Duration) time.Duration {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := r.send(bounded)
	switch {
	case ctx.Err() != nil: // the last reading will tell
	case err == nil && pause > 0:
		r.log.Info("metrics arrive again")
	case err != nil && pause == 0:
		r.log.Warn("metrics do not arrive", "error", err)
	case err != nil:
		r.log.Debug("metrics do not arrive", "error", err)
	}
	if err == nil {
		return 0
	}
	return min(max(2*pause, min(minRetry, r.every)), max(maxRetry, r.every))
}
