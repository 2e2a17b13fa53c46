package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// sums counts by a key for one tunnel. There are hundreds of reasons, most of which
// never come: in a vector each would take half a kilobyte, and a process may have
// hundreds of tunnels.
type sums[K comparable] struct {
	desc   *prometheus.Desc
	labels func(K) []string // of the sum of a key

	mu     sync.Mutex
	counts map[K]*uint64 // what is there already is found faster than it would be written
}

func newSums[K comparable](desc *prometheus.Desc, labels func(K) []string) *sums[K] {
	return &sums[K]{desc: desc, labels: labels, counts: make(map[K]*uint64)}
}

// byReason is for metrics with the reason for a label.
func byReason(desc *prometheus.Desc) *sums[string] {
	return newSums(desc, func(reason string) []string { return []string{reason} })
}

// add adds n to the sum of a key, which is there from then on. Each is kept, so keys
// must be few; no two may have the same labels.
func (s *sums[K]) add(key K, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count, ok := s.counts[key]
	if !ok {
		count = new(uint64)
		s.counts[key] = count
	}
	*count += n
}

// reset has all begin at zero.
func (s *sums[K]) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, count := range s.counts {
		*count = 0
	}
}

// collect sends all sums, with these labels before their own.
func (s *sums[K]) collect(out chan<- prometheus.Metric, labels ...string) {
	s.mu.Lock()
	all := make([]prometheus.Metric, 0, len(s.counts))
	for key, count := range s.counts {
		own := append(append(make([]string, 0, len(labels)+3), labels...), s.labels(key)...)
		all = append(all, prometheus.MustNewConstMetric(s.desc, prometheus.CounterValue, float64(*count), own...))
	}
	s.mu.Unlock()
	for _, metric := range all { // who takes them may take a while
		out <- metric
	}
}
