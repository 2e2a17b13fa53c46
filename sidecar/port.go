package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/socket"
	"sallyport/status"
)

// portGrace is how long the status port may take to answer what it was asked before the process ends.
const portGrace = time.Second

// port is the status port: its listener, and the server behind it.
type port struct {
	address  socket.Address
	tls      bool
	listener net.Listener
	server   *status.Server
}

// openPort opens the status port.
func (s *Sidecar) openPort(ctx context.Context, build Build, activation *socket.Activation) (*port, error) {
	c := s.config.Status
	ln, err := socket.Listen(ctx, c.Listen, socket.ListenOptions{KeepAlive: s.config.Tunnels[0].KeepAlive, Activation: activation})
	if err != nil {
		return nil, fmt.Errorf("--status %s: %w", c.Listen, err)
	}
	// What kind of socket the service manager opened shows only now.
	if c.TLS = c.TLS && ln.Addr().Network() == "tcp"; !c.TLS && c.ClientCA != "" {
		return nil, errors.Join(fmt.Errorf("--status-client-ca and --status %s: certificates go with HTTPS, and on a UNIX socket there is plain HTTP; use --status-token-file", c.Listen), ln.Close())
	}
	if c.TLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.portConfig}
		if s.door != nil {
			config = s.door.telling(config, s.log)
		}
		ln = tls.NewListener(ln, config)
	}
	options := status.Options{
		State:             s.state,
		Version:           build.Version,
		Revision:          build.Revision,
		Metrics:           s.metrics.Handler(),
		MetricsJSON:       s.metrics.JSON(),
		MetricsPrometheus: s.metrics.Prometheus(),
		EnablePprof:       c.Pprof,
	}
	options.Tunnels = func() []status.Tunnel {
		members := s.fleet.members()
		all := make([]status.Tunnel, len(members))
		for i, m := range members {
			all[i] = m.report()
		}
		return all
	}
	if c.Shutdown {
		options.Shutdown, options.Drain = s.requestShutdown, s.fleet.drain
	}
	if s.door != nil {
		options.Token, options.Log = s.door.token, s.log
	}
	return &port{address: c.Listen, tls: c.TLS, listener: ln, server: status.NewServer(status.New(options), s.log)}, nil
}

// portConfig is how the status port speaks TLS: as the first tunnel does, but for whom it lets in.
func (s *Sidecar) portConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	first := s.fleet.first()
	if first == nil {
		return nil, errNoIdentity
	}
	config := first.asPort(func() *tls.Config {
		options := certloader.ServerOptions{CipherSuites: first.config.TLS.CipherSuites, MaxVersion: first.config.TLS.MaxVersion}
		if s.door != nil && s.door.certs {
			options.Authorize, options.Trust = auth.AnyPeer(), s.door.clients
		}
		return first.source.ServerConfig(options)
	})
	return config.GetConfigForClient(hello)
}

// errNoIdentity is why nobody can speak to a status port that has nothing to show.
var errNoIdentity = errors.New("no tunnel with a certificate has been started yet")

// url says where the status port is, as curl takes it for TCP.
func (p *port) url() string {
	at := url.URL{Scheme: "http", Host: found(p.address, p.listener)}
	switch {
	case p.listener.Addr().Network() != "tcp":
		return at.Host
	case p.tls:
		at.Scheme = "https"
	}
	return at.String()
}

// serve blocks until close, or until the listener gives up; the latter is an error.
func (p *port) serve() error {
	if err := p.server.Serve(p.listener); err != nil {
		return fmt.Errorf("--status %s: %w", p.address, err)
	}
	return nil
}

// close ends the status port; answers that are being written are finished first.
func (p *port) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), portGrace)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("closing --status %s: %w", p.address, err)
	}
	if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing --status %s: %w", p.address, err)
	}
	return nil
}

// requestShutdown asks Run to begin the drain.
func (s *Sidecar) requestShutdown() {
	select {
	case s.shutdown <- struct{}{}:
	default: // asked for already
	}
}
