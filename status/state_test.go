package status

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStateFollowsTheLifeOfTheProcess(t *testing.T) {
	t.Parallel()
	stop := func(s *State) { s.Stopping(time.Time{}) }
	failed := func(s *State) { s.Reloaded(errors.New("no")) }
	succeeded := func(s *State) { s.Reloaded(nil) }
	for _, c := range []struct {
		what      string
		events    []func(*State)
		message   string
		accepting bool
	}{
		{"at first", nil, "initializing", false},
		{"listening", []func(*State){(*State).Listening}, "listening", true},
		{"while reloading it accepts", []func(*State){(*State).Listening, (*State).Reloading}, "reloading", true},
		{"after a reload", []func(*State){(*State).Listening, (*State).Reloading, succeeded}, "listening", true},
		{"after a failed reload", []func(*State){(*State).Listening, (*State).Reloading, failed}, "listening", true},
		{"stopping", []func(*State){(*State).Listening, stop}, "stopping", false},
		{"stopped before it listened", []func(*State){stop, (*State).Listening}, "stopping", false},
		{"no reload while stopping", []func(*State){(*State).Listening, stop, (*State).Reloading}, "stopping", false},
		{"a stop overtakes a reload", []func(*State){(*State).Listening, (*State).Reloading, stop, succeeded}, "stopping", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := NewState()
			for _, event := range c.events {
				event(s)
			}
			if now := s.read(); now.message != c.message || now.accepting() != c.accepting {
				t.Errorf("%q, accepting %t; want %q, %t", now.message, now.accepting(), c.message, c.accepting)
			}
		})
	}
}

func TestStateRemembersReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		after := func(s time.Duration) time.Time { return start.Add(s * time.Second) }
		s := NewState()
		s.Listening()
		check := func(lastReload, lastSuccess time.Time, lastError string) {
			t.Helper()
			want := moment{"listening", start, lastReload, lastSuccess, lastError, time.Time{}}
			if diff := cmp.Diff(want, s.read(), cmp.AllowUnexported(moment{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
		check(time.Time{}, start, "")

		time.Sleep(10 * time.Second)
		s.Reloading()
		time.Sleep(time.Second)
		s.Reloaded(nil)
		check(after(10), after(11), "")

		time.Sleep(9 * time.Second)
		s.Reloading()
		s.Reloaded(errors.New("--cert server.pem: no certificate in it"))
		check(after(20), after(11), "--cert server.pem: no certificate in it")

		time.Sleep(10 * time.Second)
		s.Reloading()
		s.Reloaded(nil)
		check(after(30), after(30), "")
	})
}

func TestStateKeepsTheFirstDeadline(t *testing.T) {
	t.Parallel()
	s := NewState()
	first := time.Now().Add(time.Minute)
	s.Stopping(first)
	s.Stopping(first.Add(time.Hour))
	if got := s.read().deadline; !got.Equal(first) {
		t.Errorf("deadline %v, want %v", got, first)
	}
}
