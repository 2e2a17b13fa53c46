package status

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slow returns a run that takes d, or until its context ends, and a count of
// how often it ran.
func slow(d time.Duration, outcome error) (run func(context.Context) error, runs *atomic.Int64) {
	runs = new(atomic.Int64)
	return func(ctx context.Context) error {
		runs.Add(1)
		select {
		case <-time.After(d):
			return outcome
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, runs
}

func TestCheckIsSharedWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("refused")
		run, runs := slow(100*time.Millisecond, down)
		c := NewCheck(run, time.Minute)
		defer c.Close()
		start := time.Now()
		for _, step := range []struct {
			at   time.Duration
			runs int64
		}{
			{0, 1}, {500 * time.Millisecond, 1}, {999 * time.Millisecond, 1},
			{1000 * time.Millisecond, 2}, {1999 * time.Millisecond, 2},
			{time.Hour, 3},
		} {
			time.Sleep(time.Until(start.Add(step.at)))
			if err := c.Do(t.Context()); !errors.Is(err, down) {
				t.Errorf("at %v: %v", step.at, err)
			}
			if got := runs.Load(); got != step.runs {
				t.Errorf("at %v: %d runs, want %d", step.at, got, step.runs)
			}
		}
	})
}

func TestCheckRunsOnceForAnyNumberOfCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, runs := slow(5*time.Second, nil)
		c := NewCheck(run, time.Minute)
		defer c.Close()
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 40 * time.Millisecond) // up to 4 s, in which the run goes on
				if err := c.Do(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := runs.Load(); got != 1 {
			t.Errorf("%d runs, want 1", got)
		}
	})
}

func TestCheckOutlivesACallerThatGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, runs := slow(5*time.Second, nil)
		c := NewCheck(run, time.Minute)
		defer c.Close()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Do(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient caller: %v", err)
		}
		if err := c.Do(t.Context()); err != nil {
			t.Errorf("the patient caller: %v", err)
		}
		if got := runs.Load(); got != 1 {
			t.Errorf("%d runs, want 1", got)
		}
	})
}

func TestCheckIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, _ := slow(time.Hour, nil)
		c := NewCheck(run, 10*time.Second)
		defer c.Close()
		start := time.Now()
		if err := c.Do(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %v, want 10s", took)
		}
	})
}

func TestCheckCloseEndsARunAndRefusesMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, runs := slow(time.Hour, nil)
		c := NewCheck(run, 2*time.Hour)
		outcome := make(chan error)
		go func() { outcome <- c.Do(t.Context()) }()
		synctest.Wait()

		start := time.Now()
		c.Close()
		if err := <-outcome; !errors.Is(err, errCheckClosed) {
			t.Errorf("the run in progress: %v", err)
		}
		c.Close()
		if err := c.Do(t.Context()); !errors.Is(err, errCheckClosed) {
			t.Errorf("a later one: %v", err)
		}
		if took := time.Since(start); took != 0 || runs.Load() != 1 {
			t.Errorf("took %v and %d runs, want 0s and 1", took, runs.Load())
		}
	})
}

func TestCheckClosedForgetsItsAnswer(t *testing.T) {
	t.Parallel()
	run, _ := slow(0, nil)
	c := NewCheck(run, time.Minute)
	if err := c.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := c.Do(t.Context()); !errors.Is(err, errCheckClosed) {
		t.Errorf("%v, want that the check is closed", err)
	}
}

// listen starts a backend that accepts connections, and returns it, a dial
// function for it and a count of the connections it saw.
func listen(t *testing.T) (ln net.Listener, dial func(context.Context) (net.Conn, error), seen *atomic.Int64) {
	t.Helper()
	ln = listenTCP(t)
	seen = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			seen.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	address := ln.Addr().String()
	return ln, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}, seen
}

// dialing returns a Check that is happy with a connection.
func dialing(t *testing.T, dial func(context.Context) (net.Conn, error)) *Check {
	t.Helper()
	c := NewCheck(func(ctx context.Context) error {
		conn, err := dial(ctx)
		if err != nil {
			return err
		}
		return conn.Close()
	}, 5*time.Second)
	t.Cleanup(c.Close)
	return c
}

func TestLatestTellsWhatIsKnownAndAsksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("refused")
		run, runs := slow(time.Second, down)
		c := NewCheck(run, time.Minute)
		defer c.Close()
		if at, err := c.Latest(); !at.IsZero() || err != nil {
			t.Errorf("before any run: %v, %v", at, err)
		}
		_ = c.Do(t.Context())
		ended := time.Now()
		time.Sleep(time.Hour)
		if at, err := c.Latest(); !at.Equal(ended) || !errors.Is(err, down) || runs.Load() != 1 {
			t.Errorf("after %d runs: %v, %v, want %v, %v", runs.Load(), at, err, ended, down)
		}
	})
}
