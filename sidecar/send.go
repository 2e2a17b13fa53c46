package sidecar

import (
	"context"
	"sync"

	"sallyport/certloader"
	"sallyport/metrics"
	"sallyport/socket"
)

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
			TLS:   s.fleet.tunnels()[0].source.ClientConfig(certloader.ClientOptions{ServerName: c.URL.Hostname()}),
			Every: c.Interval,
			Log:   s.log.With("to", c.URL.Scheme+"://"+c.URL.Host), // the rest may be what lets one in there
		}
		out.places.Go(func() { s.metrics.Push(ctx, to) })
	}
	return out
}

// end has the last readings sent, and waits until they have arrived or it takes too long.
func (s *sending) end() {
	s.cancel()
	s.places.Wait()
}
