package sidecar

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"sallyport/certloader"
	"sallyport/metrics"
	"sallyport/socket"
)

// sendGrace is how long the last readings may take, which are given up after a second, and what is logged about them.
const sendGrace = time.Second + endGrace

// sending is the metrics on their way to where they are sent.
type sending struct {
	cancel context.CancelFunc
	places sync.WaitGroup
}

// send begins to send metrics to where the configuration wants them.
func (s *Sidecar) send() *sending {
	ctx, cancel := context.WithCancel(context.Background())
	out := &sending{cancel: cancel}
	c := s.config.Metrics
	if !c.Graphite.IsZero() {
		to := metrics.Graphite{
			Dial:  socket.Dialer(c.Graphite, 0),
			Every: c.Interval,
			Log:   s.log.With("to", c.Graphite.String()),
		}
		out.places.Go(func() { s.metrics.Graphite(ctx, to) })
	}
	if c.URL != nil {
		to := metrics.Push{
			URL:   c.URL,
			TLS:   s.receiverConfig(c.URL.Hostname()),
			Every: c.Interval,
			Log:   s.log.With("to", c.URL.Scheme+"://"+c.URL.Host), // the rest may be what lets one in there
		}
		out.places.Go(func() { s.metrics.Push(ctx, to) })
	}
	return out
}

// receiverConfig is how a receiver of metrics is spoken to: as the first tunnel would, which after a reload of the file may be
// another one.
func (s *Sidecar) receiverConfig(host string) *tls.Config {
	as := func() *tls.Config {
		return s.fleet.lead().source.ClientConfig(certloader.ClientOptions{ServerName: host})
	}
	config := as()
	config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return as().GetClientCertificate(asked)
	}
	config.VerifyConnection = func(cs tls.ConnectionState) error { return as().VerifyConnection(cs) }
	return config
}

// end has the last readings sent, and waits until they have arrived or it takes too long: for them, or to tell the log that
// they have not.
func (s *sending) end() {
	s.cancel()
	_ = within(sendGrace, func() error {
		s.places.Wait()
		return nil
	})
}
