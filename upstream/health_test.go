package upstream

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealthChecksTakeMembersOutAndBackIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const every = 5 * time.Second
		r := newRig(Options{HealthInterval: every}, 1, 1, 1)
		defer r.Close()
		synctest.Wait()
		wantShares(t, "at first", r.shares(t, 1000), 1, 1, 1)

		r.places[1].answers(errRefused)
		time.Sleep(every) // jitter makes it less, never more
		synctest.Wait()
		before := r.places[1].count()
		if got := r.shares(t, 1000); got[1] != 0 || r.places[1].count() != before {
			t.Errorf("shares %v, and %d connections were tried with the one that is down", got, r.places[1].count()-before)
		}
		if s := r.state(t, "b"); s.Up || !s.Checked || !errors.Is(s.Fault, errRefused) {
			t.Errorf("%+v, want it down", s)
		}

		r.places[1].answers(nil)
		time.Sleep(every)
		synctest.Wait()
		wantShares(t, "after it came back", r.shares(t, 1000), 1, 1, 1)
		r.Close()
		for _, line := range []string{`level=WARN msg="target down" target=b error="connection refused" hint="what helps against connection_refused"`, `level=INFO msg="target up" target=b`} {
			if strings.Count(r.log.String(), line) != 1 {
				t.Errorf("want one line with %s:\n%s", line, r.log)
			}
		}
	})
}

func TestAllDownIsARefusalAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{HealthInterval: time.Second}, 1, 1)
		defer r.Close()
		for _, p := range r.places {
			p.answers(errRefused)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		_, err := r.Dial(t.Context(), nil)
		if want := "no target is up: target a: connection refused; target b: connection refused"; err == nil || err.Error() != want {
			t.Errorf("Dial: %v, want %s", err, want)
		}
		for i, p := range r.places {
			if n := p.count(); n != 0 {
				t.Errorf("%d was tried %d times although it is down", i, n)
			}
		}
	})
}

// TestAConnectionThatWasOnItsWayDoesNotHideWhyAMemberIsDown.
func TestAConnectionThatWasOnItsWayDoesNotHideWhyAMemberIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{HealthInterval: time.Second}, 1)
		defer r.Close()
		synctest.Wait()
		conn, err := r.Dial(t.Context(), func(ctx context.Context, _ int, dial DialFunc) (net.Conn, error) {
			conn, err := dial(ctx)
			r.places[0].answers(errRefused)
			time.Sleep(2 * time.Second)
			return conn, err
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if _, err := r.Dial(t.Context(), nil); err == nil || err.Error() != "no target is up: target a: connection refused" {
			t.Errorf("Dial: %v", err)
		}
	})
}

// TestHealthEndsAnEjection that began before the check: a member that was restarted need not wait for its pause to end.
func TestHealthEndsAnEjection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{HealthInterval: 100 * time.Millisecond}, 1, 1)
		defer r.Close()
		synctest.Wait()
		time.Sleep(time.Millisecond)
		r.places[0].answers(errRefused)
		r.shares(t, 2) // no check has seen it yet
		if s := r.state(t, "a"); !s.Ejected || s.Up {
			t.Fatalf("%+v, want it ejected", s)
		}
		r.places[0].answers(nil)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if s := r.state(t, "a"); s.Ejected || !s.Up {
			t.Errorf("%+v, want it back", s)
		}
	})
}

// TestChecksAreApart by the interval or a tenth less, however long they take, and end in time.
func TestChecksAreApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun []time.Time
		var limits []time.Duration
		g := New(Options{
			HealthInterval: 10 * time.Second, HealthTimeout: 3 * time.Second, Seed: 1,
			Targets: []Target{{Name: "a", Dialer: new(place).target("a", 1).Dialer, Check: func(ctx context.Context, _ DialFunc) error {
				begun = append(begun, time.Now())
				<-ctx.Done()
				limits = append(limits, time.Since(begun[len(begun)-1]))
				return ctx.Err()
			}}},
		})
		time.Sleep(time.Minute)
		g.Close()
		if len(begun) < 6 {
			t.Fatalf("%d checks in a minute, want 6 at least", len(begun))
		}
		var gaps []time.Duration
		for i := range begun[1:] {
			gaps = append(gaps, begun[i+1].Sub(begun[i]))
		}
		if slices.Min(gaps) < 9*time.Second || slices.Max(gaps) > 10*time.Second || slices.Min(gaps) == slices.Max(gaps) {
			t.Errorf("gaps %v, want them to differ within 9s to 10s", gaps)
		}
		if slices.Max(limits) != 3*time.Second {
			t.Errorf("checks took up to %v, want 3s", slices.Max(limits))
		}
	})
}

func TestCheckAsksThoseOfWhomNobodyTells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{}, 1, 1)
		defer r.Close()
		r.places[0].answers(errRefused)
		if err := r.Check(t.Context()); err != nil {
			t.Errorf("one is up: %v", err)
		}
		if a, b := r.state(t, "a"), r.state(t, "b"); a.Up || !errors.Is(a.Fault, errRefused) || !b.Up || b.Heard.IsZero() {
			t.Errorf("%+v, %+v", a, b)
		}
		if got := r.shares(t, 10); got[1] != 10 || r.state(t, "a").Failures["connection_refused"] != 1 {
			t.Errorf("shares %v: to have asked must not change where connections go", got)
		}
		r.places[1].answers(errRefused)
		if err := r.Check(t.Context()); err == nil || err.Error() != "no target is up: target a: connection refused; target b: connection refused" {
			t.Errorf("none is up: %v", err)
		}

		checked := newRig(Options{HealthInterval: time.Hour}, 1)
		defer checked.Close()
		synctest.Wait()
		for range 3 {
			if err := checked.Check(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := checked.places[0].examined; n != 1 {
			t.Errorf("asked %d times although health checks tell", n)
		}
	})
}
