package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is a certificate in use.
type Certificate struct {
	Role    string // "identity", "intermediate" or "ca"; with "proxy_" before it, if it is there for a proxy
	Subject string
	Serial  string

	NotBefore, NotAfter time.Time
}

// CRL is a revocation list in use.
type CRL struct {
	Issuer     string
	NextUpdate time.Time
}

var (
	descNotAfter = prometheus.NewDesc("sallyport_certificate_not_after_timestamp_seconds",
		"When a certificate in use expires.", []string{"tunnel", "role", "subject", "serial"}, nil)
	descNotBefore = prometheus.NewDesc("sallyport_certificate_not_before_timestamp_seconds",
		"When the validity of a certificate in use began.", []string{"tunnel", "role", "subject", "serial"}, nil)
	descNextUpdate = prometheus.NewDesc("sallyport_crl_next_update_timestamp_seconds",
		"When a revocation list in use has to be replaced.", []string{"tunnel", "issuer"}, nil)
)

// identities collects when what tunnels hold runs out. It asks at each
// scrape, so that what is gone is not told of any more.
type identities struct{ metrics *Metrics }

// Describe sends nothing, which makes the collector unchecked: which of the
// metrics there are depends on what is held.
func (identities) Describe(chan<- *prometheus.Desc) {}

// Collect sends what the tunnels hold now.
func (i identities) Collect(out chan<- prometheus.Metric) {
	i.metrics.each(func(r *Recorder) { r.told.Load().collectIdentities(out) })
}

// collectIdentities sends what the tunnel holds now.
func (t *Tunnel) collectIdentities(out chan<- prometheus.Metric) {
	begins, ends := newEnds(descNotBefore), newEnds(descNotAfter)
	if t.Certificates != nil {
		for _, c := range t.Certificates() {
			begins.add(c.NotBefore, t.Name, c.Role, c.Subject, c.Serial)
			ends.add(c.NotAfter, t.Name, c.Role, c.Subject, c.Serial)
		}
	}
	begins.send(out)
	ends.send(out)
	ends = newEnds(descNextUpdate)
	if t.CRLs != nil {
		for _, crl := range t.CRLs() {
			ends.add(crl.NextUpdate, t.Name, crl.Issuer)
		}
	}
	ends.send(out)
}

// ends is the times of one metric, by labels: a bundle may have a certificate
// twice, but a scrape may not. The earliest counts.
type ends struct {
	desc  *prometheus.Desc
	times map[string]end
}

type end struct {
	labels []string
	at     time.Time
}

func newEnds(desc *prometheus.Desc) ends { return ends{desc, make(map[string]end)} }

func (e ends) add(at time.Time, labels ...string) {
	for i := range labels {
		labels[i] = label(labels[i])
	}
	key := strings.Join(labels, "\x00")
	if known, ok := e.times[key]; !ok || at.Before(known.at) {
		e.times[key] = end{labels, at}
	}
}

func (e ends) send(out chan<- prometheus.Metric) {
	for _, end := range e.times {
		out <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, float64(end.at.Unix()), end.labels...)
	}
}
