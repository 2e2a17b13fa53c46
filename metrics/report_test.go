package metrics

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// takes plays a place that takes readings or fails, and notes when it was tried.
type takes struct {
	start  time.Time
	at     []time.Duration
	answer func(context.Context) error
}

func (p *takes) send(ctx context.Context) error {
	p.at = append(p.at, time.Since(p.start))
	return p.answer(ctx)
}

// runReport lets a report run for so long, and returns what was logged.
func runReport(t *testing.T, every, length time.Duration, p *takes) string {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	p.start = time.Now()
	r := report{every: every, send: p.send, log: slog.New(slog.NewTextHandler(&log, nil))}
	r.run(ctx)
	return log.String()
}

const s = time.Second

func TestReadingsAreSentAtEachIntervalAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &takes{answer: func(context.Context) error { return nil }}
		log := runReport(t, 30*s, 70*s, p)
		if diff := cmp.Diff([]time.Duration{30 * s, 60 * s, 70 * s}, p.at); diff != "" || log != "" {
			t.Errorf("-want +got:\n%s\nlog:\n%s", diff, log)
		}
	})
}

func TestFailuresAreTriedAgainAfterPausesThatGrow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &takes{answer: func(context.Context) error { return errors.New("no") }}
		log := runReport(t, 10*s, 300*s, p)
		want := []time.Duration{10 * s, 11 * s, 13 * s, 17 * s, 25 * s, 41 * s, 73 * s, 133 * s, 193 * s, 253 * s, 300 * s}
		if diff := cmp.Diff(want, p.at); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if n := strings.Count(log, "\n"); n != 1 || !strings.Contains(log, `msg="metrics do not arrive" error=no`) {
			t.Errorf("logged %d lines:\n%s", n, log)
		}
	})
}

func TestAPlaceThatIsBackGetsReadingsAtEachIntervalAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &takes{}
		p.answer = func(context.Context) error {
			if len(p.at) < 3 {
				return errors.New("no")
			}
			return nil
		}
		log := runReport(t, 10*s, 30*s, p)
		if diff := cmp.Diff([]time.Duration{10 * s, 11 * s, 13 * s, 23 * s, 30 * s}, p.at); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if !strings.Contains(log, "metrics arrive again") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A place that takes for ever to answer gets no second reading meanwhile, and
// does not keep the process from ending.
func TestAPlaceThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &takes{answer: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		runReport(t, 2*s, 15*s, p)
		// After 2 s, and 1 s after the 10 s that it takes to give up; the third
		// is the last.
		if diff := cmp.Diff([]time.Duration{2 * s, 13 * s, 15 * s}, p.at); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if took := time.Since(p.start); took != 16*s {
			t.Errorf("ended after %v, want 16s", took)
		}
	})
}
