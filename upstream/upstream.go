// Package upstream makes one dial function out of many targets: it spreads connections over them, goes to the next where one
// does not answer, leaves out those that failed a moment ago or that a health check found down, and follows what DNS says of
// their names.
//
//	group := upstream.New(upstream.Options{
//		Targets: []upstream.Target{
//			{Name: "10.0.0.1:80", Dialer: fixed("10.0.0.1:80")},
//			{Name: "10.0.0.2:80", Dialer: fixed("10.0.0.2:80"), Weight: 2},
//			{Name: "db.internal:80", Lookup: lookUp("db.internal"), Dialer: at(80)},
//		},
//		Balance:        upstream.LeastConn,
//		HealthInterval: 5 * time.Second,
//		HealthTimeout:  time.Second,
//	})
//	defer group.Close()
//	conn, err := group.Dial(ctx, nil)
//
// A target is one place, or with Lookup as many as its name has addresses; each such place is a member of the group and counts
// for itself. A member is in one of these states:
//
//	up        it gets its share of connections
//	ejected   connecting to it failed. It gets none for a moment, which doubles with each failure in a row, and then one to try
//	down      its health check failed. It gets none until one succeeds
//
// A connection that cannot be made to one member is tried with the next, within the time that its context has left. One that is
// ejected is tried when no other is left: to be ejected says what happened a moment ago. One that is down is not.
//
// The package knows neither addresses nor TLS: it calls the functions that it is given. It looks into no byte that is forwarded.
package upstream

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// DialFunc connects to one place. It must return soon after its context ends.
type DialFunc func(context.Context) (net.Conn, error)

// Options is what a [Group] is made of.
type Options struct {
	// Targets are where connections go, in the order of preference that First has. There must be one at least.
	Targets []Target

	// Balance says which member a connection goes to. The zero value is RoundRobin.
	Balance Balance

	// ResolveInterval is the time from one lookup of a target's name to the next. Zero or less is 30 seconds.
	ResolveInterval time.Duration

	// HealthInterval is the time from one health check of a member to the next, less a tenth at random. Zero or less checks
	// nothing.
	HealthInterval time.Duration

	// HealthTimeout bounds a health check. Zero or less is 5 seconds.
	HealthTimeout time.Duration

	// SlowStart is how long a member that was away gets less than its share, at first a tenth of it. Zero or less is no time.
	SlowStart time.Duration

	// Reason gives errors of dialling the names under which they are counted. Required.
	Reason func(error) string

	// Hint returns what may help against a failure that has such a name, for the log; "" is nothing. Nil has none.
	Hint func(reason string) string

	// Log is told when members go and come. Nil is silence.
	Log *slog.Logger

	// Seed makes the pauses of ejected members the same in each run. Zero is any.
	Seed uint64
}

// Target is where connections go.
type Target struct {
	// Name is for people, and unique in its group.
	Name string

	// Weight is how many connections it gets for each one of a target with the weight 1. Less than 1 is 1.
	Weight int

	// Lookup finds the addresses that the target has now. Each becomes a member with the target's weight. Nil is for a target
	// that is one place whatever its address.
	Lookup func(context.Context) ([]netip.Addr, error)

	// Dialer returns what connects to the target at an address, which is the zero Addr without Lookup. Required.
	Dialer func(netip.Addr) DialFunc

	// Check finds out whether the member that dial connects to is up. Nil connects, and says no more.
	Check func(ctx context.Context, dial DialFunc) error
}

// Limits that no option changes.
const (
	defaultResolveInterval = 30 * time.Second
	defaultHealthTimeout   = 5 * time.Second
	lookupTimeout          = 10 * time.Second
	maxAddresses           = 256 // of a name: DNS may say anything
)

// Group is a set of targets. Make it with [New]; its methods are safe for concurrent use.
type Group struct {
	options Options
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	unknown sync.WaitGroup // names that were not looked up yet
	ready   chan struct{}  // closed when there are none

	mu      sync.Mutex
	random  *rand.Rand
	names   []name    // by target
	members []*member // all, in the order of targets
}

// name is what is known of a target's addresses.
type name struct {
	members []*member
	err     error // of the latest lookup
}

// New makes a Group, and begins to follow names and to check health. The caller ends that with [Group.Close].
func New(o Options) *Group {
	if o.ResolveInterval <= 0 {
		o.ResolveInterval = defaultResolveInterval
	}
	if o.HealthTimeout <= 0 {
		o.HealthTimeout = defaultHealthTimeout
	}
	g := &Group{
		options: o,
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		ready:   make(chan struct{}),
		random:  rand.New(rand.NewPCG(cmp.Or(o.Seed, rand.Uint64()), 0)), //nolint:gosec // pauses need not be secret
		names:   make([]name, len(o.Targets)),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for i := range o.Targets {
		if o.Targets[i].Lookup != nil {
			g.unknown.Add(1)
			g.running.Go(func() { g.follow(i) })
			continue
		}
		g.mu.Lock()
		g.names[i].members = []*member{g.newMember(i, netip.Addr{})}
		g.mu.Unlock()
	}
	g.mu.Lock()
	g.gatherLocked()
	g.mu.Unlock()
	g.running.Go(func() {
		g.unknown.Wait()
		close(g.ready)
	})
	return g
}

// Close ends what New has begun, and waits for it. Connections are left as they are.
func (g *Group) Close() {
	g.cancel()
	g.running.Wait()
}
