package status

import (
	"net/http"
	"sync"
	"time"
)

// askBackends asks the checks of all tunnels at once and returns their answers
// in the tunnels' order. Checks may take longer than answers otherwise have to
// be written, so it moves the deadline of this one.
func (p *port) askBackends(w http.ResponseWriter, r *http.Request) []error {
	var longest time.Duration
	for _, tunnel := range p.tunnels {
		longest = max(longest, tunnel.Check.timeout)
	}
	// Where deadlines cannot be moved there are none.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(longest + writeLimit))

	answers := make([]error, len(p.tunnels))
	var all sync.WaitGroup
	for i, tunnel := range p.tunnels {
		all.Go(func() { answers[i] = tunnel.Check.Do(r.Context()) })
	}
	all.Wait()
	return answers
}
