package certloader

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// The pauses between attempts to reach an agent. SVIDs may last for minutes, so
// one that is back is to be heard from soon.
const (
	minPause = 250 * time.Millisecond
	maxPause = 5 * time.Second
)

// redial has a client of the Workload API come back to an agent that was away.
func redial() []workloadapi.ClientOption {
	return []workloadapi.ClientOption{
		workloadapi.WithBackoffStrategy(pauses{}),
		workloadapi.WithDialOptions(
			// gRPC has pauses of its own, of up to two minutes.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: minPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause},
				MinConnectTimeout: maxPause,
			}),
			// A private key is on its way: it is not to go through $HTTPS_PROXY.
			grpc.WithNoProxy(),
		),
	}
}

// pauses is the strategy of a [pause].
type pauses struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (pauses) NewBackoff() workloadapi.Backoff { return newPause() }

// pause grows from minPause to maxPause (SPIFFE Workload API, 6).
type pause struct{ next time.Duration }

func newPause() *pause { return &pause{next: minPause} }

// Next implements workloadapi.Backoff.
func (p *pause) Next() time.Duration {
	now := p.next
	p.next = min(2*now, maxPause)
	return now
}

// Reset implements workloadapi.Backoff.
func (p *pause) Reset() { p.next = minPause }
