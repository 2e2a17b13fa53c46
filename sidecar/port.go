package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
		config := s.tunnels[0].source.ServerConfig(s.portOptions())
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
	for _, t := range s.tunnels {
		options.Tunnels = append(options.Tunnels, t.report())
	}
	if c.Shutdown {
		options.Shutdown = s.requestShutdown
	}
	if s.door != nil {
		options.Token, options.Log = s.door.token, s.log
	}
	return &port{address: c.Listen, tls: c.TLS, listener: ln, server: status.NewServer(status.New(options), s.log)}, nil
}

// portOptions is how the status port speaks TLS: as the first tunnel does, but for whom it lets in.
func (s *Sidecar) portOptions() certloader.ServerOptions {
	first := s.tunnels[0].config
	options := certloader.ServerOptions{CipherSuites: first.TLS.CipherSuites, MaxVersion: first.TLS.MaxVersion}
	if s.door != nil && s.door.certs {
		options.Authorize, options.Trust = auth.AnyPeer(), s.door.clients
	}
	return options
}

// url says where the status port is, as curl takes it for TCP.
func (p *port) url() string {
	at := found(p.address, p.listener)
	switch {
	case p.listener.Addr().Network() != "tcp":
		return at
	case p.tls:
		return "https://" + at
	}
	return "http://" + at
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
