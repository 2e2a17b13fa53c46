package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// counters finds the counters of a vector by a key of theirs. To find one by its
// labels takes checking and hashing each of them, which adds up when there are
// several for each connection.
type counters[K comparable] struct {
	vec    *prometheus.CounterVec
	labels func(K) []string // of the counter with a key

	mu    sync.Mutex
	known map[K]prometheus.Counter
}

func newCounters[K comparable](vec *prometheus.CounterVec, labels func(K) []string) *counters[K] {
	return &counters[K]{vec: vec, labels: labels, known: make(map[K]prometheus.Counter)}
}

// of returns the counter with a key, and makes it at zero if it is not there. Each
// is kept, so keys must be few.
func (c *counters[K]) of(key K) prometheus.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	counter, ok := c.known[key]
	if !ok {
		counter = c.vec.WithLabelValues(c.labels(key)...)
		c.known[key] = counter
	}
	return counter
}
