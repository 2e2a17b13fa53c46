package sidecar

import (
	"slices"
	"time"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/config"
	"sallyport/metrics"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/socket"
	"sallyport/starttls"
	"sallyport/upstream"
)

// upFor is how long an answer of a backend check says anything about the target. Nobody may have asked since.
const upFor = 5 * time.Minute

// newMetrics makes the metrics, if anything is there to read them.
func (s *Sidecar) newMetrics(build Build) *metrics.Metrics {
	c := s.config.Metrics
	if s.config.Status.Listen.IsZero() && c.Graphite.IsZero() && c.URL == nil {
		return nil
	}
	makeRoomForMetrics()
	return metrics.New(metrics.Options{
		Prefix:        c.Prefix,
		MaxIdentities: c.MaxIdentities,
		Version:       build.Version,
		Revision:      build.Revision,

		PrometheusTunnel: c.Compat == config.PrometheusTunnel,
	})
}

// measured is what the metrics tell about the tunnel, of which the ledger keeps count.
func (t *tunnel) measured(l *ledger) metrics.Tunnel {
	refused := denials()
	failures := proxy.Failures()
	failures["handshake"] = union(failures["handshake"], refused, []string{certloader.ReasonNoChallenge})
	failures["dial"] = union(failures["dial"], socket.ProxyReasons())
	failures["upgrade"] = union(failures["upgrade"], starttls.Reasons())
	if spreads(t.config) {
		failures["dial"] = union(failures["dial"], []string{upstream.ReasonNoTarget})
	}
	ends := proxy.Ends()
	for stage, reasons := range failures {
		if stage != "accept" { // where there is no connection yet
			ends = union(ends, reasons)
		}
	}
	measured := metrics.Tunnel{
		Name:     t.config.Name,
		Target:   t.config.Upstream.String(),
		Limit:    t.config.MaxConns,
		Failures: failures,
		Ends:     ends,
		Denials:  refused,
		Up:       func() bool { return !t.server.Draining() },
		Counts:   l.counts,
		Bytes:    l.bytes,
		Draining: t.server.Draining,
		Pending:  func() bool { return t.pending.differs() },
		Routes:   t.routes.measured(),
		TargetUp: func() (up, known bool) {
			at, err := t.check.Latest()
			return err == nil, time.Since(at) < upFor
		},
		Certificates: func() []metrics.Certificate {
			var out []metrics.Certificate
			for _, c := range t.certificates() {
				out = append(out, metrics.Certificate{Role: c.Role, Subject: c.Subject, Serial: c.Serial, NotBefore: c.X509.NotBefore, NotAfter: c.NotAfter})
			}
			return out
		},
		CRLs: func() []metrics.CRL {
			var out []metrics.CRL
			for _, crl := range t.crls() {
				if crl.Superseded || crl.Unused { // nothing ends with it
					continue
				}
				out = append(out, metrics.CRL{Issuer: crl.Issuer, NextUpdate: crl.NextUpdate})
			}
			return out
		},
	}
	if t.routes != nil || t.config.Upstream.IsBalanced() { // of which the check tells only whether all is well
		measured.TargetUp, measured.Targets = nil, t.measuredTargets
	}
	return measured
}

// denials are the reasons for which a tunnel may refuse a peer: those of every package that has a say in it, each once.
func denials() []string { return union(auth.Reasons(), certloader.Reasons(), policy.Reasons()) }

// union is all of some lists, sorted, each once.
func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}
