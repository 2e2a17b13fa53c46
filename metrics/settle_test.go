package metrics

import (
	"testing"
	"testing/synctest"
	"time"
)

// What is noted is counted when as much as there is room for has come together,
// after a second, and whenever somebody looks.
func TestEventsAreCountedInAMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{Prefix: "g"})
		defer m.Close()
		r := m.AddTunnel(Tunnel{Name: "web"})
		counted := func(want int64) {
			t.Helper()
			if got := m.ghostunnel.acceptTotal.Count(); got != want {
				t.Errorf("%d events are counted, want %d", got, want)
			}
		}
		r.Accepted()
		time.Sleep(notedFor - time.Nanosecond)
		r.Accepted() // does not put it off
		counted(0)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		counted(2)
		for range notedMost {
			r.Accepted()
		}
		counted(2 + notedMost)
		r.Accepted()
		if got := jsonValues(t, m)["g.accept.total"]; got != 3+notedMost {
			t.Errorf("who looks sees %v, want %d", got, 3+notedMost)
		}
		time.Sleep(time.Hour)
		counted(3 + notedMost)
	})
}
