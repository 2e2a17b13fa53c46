package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/internal/peertext"
)

// peers counts connections by the identity of their peer, for as many
// identities as there may be: a CA can issue any number of them, and each would
// cost memory here and in whatever scrapes, for ever. Those that come first are
// the ones that are told apart.
type peers struct {
	connections *prometheus.CounterVec // by identity
	max         int

	mu    sync.Mutex
	known map[string]prometheus.Counter
}

func newPeers(connections *prometheus.CounterVec, most int) *peers {
	return &peers{connections: connections, max: most, known: make(map[string]prometheus.Counter)}
}

// add counts one connection.
func (p *peers) add(identity string) { p.counter(label(peertext.Cut(identity))).Inc() }

func (p *peers) counter(identity string) prometheus.Counter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.known[identity]; ok {
		return c
	}
	if len(p.known) >= p.max {
		return p.connections.WithLabelValues(other)
	}
	c := p.connections.WithLabelValues(identity)
	p.known[identity] = c
	return c
}
