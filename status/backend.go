package status

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// askBackends asks the checks of tunnels at once and returns their answers in the
// tunnels' order. Checks may take
// longer than answers otherwise have to be written, so it moves the deadline of
// this one.
func askBackends(w http.ResponseWriter, r *http.Request, tunnels []Tunnel) []error {
	var longest time.Duration
	for _, tunnel := range tunnels {
		if tunnel.unasked() == nil {
			longest = max(longest, tunnel.Check.timeout)
		}
	}
	// Where deadlines cannot be moved there are none.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(longest + writeLimit))

	answers := make([]error, len(tunnels))
	var all sync.WaitGroup
	for i, tunnel := range tunnels {
		if answers[i] = tunnel.unasked(); answers[i] != nil {
			continue
		}
		all.Go(func() { answers[i] = tunnel.Check.Do(r.Context()) })
	}
	all.Wait()
	return answers
}

// errRemoved is the answer for a tunnel that is no more.
var errRemoved = errors.New("not asked, as the tunnel was removed")

// unasked is why the tunnel's backend is not asked; nil: it is.
func (t Tunnel) unasked() error {
	if t.Removed {
		return errRemoved
	}
	return t.Fault
}
