package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// families are those metrics of Sallyport's own that move when something
// happens, but for what is counted by its reason, which is a tally's. What a
// scrape can read from a tunnel is collected by states and identities.
type families struct {
	handshakes *prometheus.HistogramVec
	lifetimes  *prometheus.HistogramVec
	dials      *prometheus.HistogramVec
	peers      *prometheus.CounterVec

	all []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}
}

// Upper bounds of the classic buckets, in seconds. A handshake or a connection
// to a target takes a millisecond near by and some round trips far away; a
// connection lives from that to a day.
var (
	quick = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	lived = []float64{.01, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
)

func newFamilies(registry prometheus.Registerer) *families {
	f := new(families)
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		vec := register(registry, newDurations(name, help, buckets, "tunnel"))
		f.all = append(f.all, vec)
		return vec
	}
	f.handshakes = histogram("sallyport_handshake_duration_seconds",
		"How long TLS handshakes took, with or without success.", quick)
	f.lifetimes = histogram("sallyport_connection_duration_seconds",
		"How long connections lived from when they were accepted, those that failed included.", lived)
	f.dials = histogram("sallyport_dial_duration_seconds",
		"How long it took to connect to the target, with or without success and without TLS.", quick)
	f.peers = register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_peer_connections_total",
		Help: "Connections that were forwarded, by the identity of the TLS peer; other stands for those beyond --metrics-max-identities.",
	}, []string{"tunnel", "identity"}))
	f.all = append(f.all, f.peers)
	return f
}

// remove ends what has these labels.
func (f *families) remove(labels prometheus.Labels) {
	for _, vec := range f.all {
		vec.DeletePartialMatch(labels)
	}
}

// newDurations makes a histogram. A scraper that asks for native ones gets buckets
// that grow by a tenth each, as many as there is use for.
func newDurations(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

// register returns what it has registered.
func register[C prometheus.Collector](registry prometheus.Registerer, c C) C {
	registry.MustRegister(c)
	return c
}
