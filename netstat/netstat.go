// Package netstat tells how many TCP connections of this host have been
// established for long, as a metric for Prometheus.
//
//	watch, err := netstat.New(netstat.Options{MinAge: 6 * time.Second, TCP6: true})
//	if err != nil {
//		return err
//	}
//	go watch.Run(ctx)
//	registry.MustRegister(watch) // or: mux.Handle("/metrics", watch.Handler())
//
// Linux lists its connections, but not since when they have been there. So a
// [Watch] looks at the list again and again, and notes when it first saw each
// connection. What it counts has been there for at least MinAge; it may find a
// connection one pause between two looks later than that ([Watch.Run] says how
// long a pause is), and those that were there before the Watch at MinAge after
// the first look.
//
// The lists are those of /proc/self/net: the connections of the network
// namespace that the process is in, and of no other. A connection between two
// programs of this host is two: one at each end.
//
// The package opens no listener, reads nothing that is sent over connections,
// and does not say which programs they belong to.
package netstat

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say what is counted.
type Options struct {
	MinAge  time.Duration // the age from which on a connection counts; 0 counts all
	TCP6    bool          // count those of IPv6 sockets too, which IPv4 clients may have come in by
	Simple  bool          // one number, without labels
	Port    uint16        // count only those with this local port; 0: with any but OwnPort
	OwnPort uint16        // where the metric is served, and whose connections are not of interest; 0: there is none
}

// Watch follows the connections of this host. It is a prometheus.Collector of
//
//	netstat_tcp_longterm_connections_total{port,version}
//	netstat_scan_failures_total
//
// where the first is a gauge, whatever its name says. The label port is the
// local one, or "ephemeral" where the system chose it, as it does for the
// connections that this host opened; version is tcp or tcp6. Ports that
// somebody listens on are told of even at 0. When the lists cannot be read, the
// gauge is left out. All methods are safe for concurrent use.
type Watch struct {
	options  Options
	read     func(tcp6 bool) ([]entry, error)
	chosen   portRange // from which the system takes local ports
	failures prometheus.Counter
	gauge    *prometheus.Desc

	mu    sync.Mutex
	known map[connection]*sighting
	latest
}

// latest is what the latest look has found.
type latest struct {
	scan      uint64    // its number, from 1
	at        time.Time // when it ended
	took      time.Duration
	err       error
	listening map[listener]bool
}

// New returns a Watch that has not looked yet. The error is ErrUnsupported of
// the errors package where the system has no such lists.
func New(o Options) (*Watch, error) {
	read, chosen, err := system()
	if err != nil {
		return nil, err
	}
	return newWatch(o, read, chosen), nil
}

func newWatch(o Options, read func(tcp6 bool) ([]entry, error), chosen portRange) *Watch {
	labels := []string{"port", "version"}
	if o.Simple {
		labels = nil
	}
	return &Watch{
		options: o,
		read:    read,
		chosen:  chosen,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "netstat_scan_failures_total",
			Help: "How often the list of connections could not be read.",
		}),
		gauge: prometheus.NewDesc("netstat_tcp_longterm_connections_total",
			"Established TCP connections of this host that have been there for at least "+o.MinAge.String()+".", labels, nil),
		known: make(map[connection]*sighting),
	}
}
