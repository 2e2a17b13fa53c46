package sidecar

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"sallyport/config"
	"sallyport/metrics"
	"sallyport/proxy"
	"sallyport/socket"
	"sallyport/status"
)

// member is a tunnel of the fleet: one that runs, or one that should and does not.
type member struct {
	fleet    *fleet
	config   *config.Tunnel
	ledger   *ledger
	tunnel   *tunnel      // nil: it does not run
	held     net.Listener // what the service manager has handed over for one that does not run; nil: nothing. Of the reload
	removed  bool         // the configuration has it no more: it is there until its connections have ended
	draining atomic.Bool  // it was asked to accept no more connections
	unwatch  func()       // ends the watch over its files; nil before it starts

	origin atomic.Pointer[config.Origin] // where it stands in the file by now

	mu    sync.Mutex
	fault error // why it does not run
}

// newMember makes a member that does not run.
func (f *fleet) newMember(c *config.Tunnel, l *ledger) *member {
	m := &member{fleet: f, config: c, ledger: l}
	m.origin.Store(c.Origin)
	return m
}

// locate says where in the file that stands which an error is about.
func (m *member) locate(err error) error { return m.origin.Load().Locate(err) }

// complain tells the log why it does not run.
func (m *member) complain() {
	m.fleet.log.Error("a tunnel does not start; it is tried again", "tunnel", m.name(), "error", m.why())
}

// hold keeps the socket that was handed over for a member that does not run: it is not handed over again.
func (m *member) hold(ctx context.Context, activation *socket.Activation) {
	if !m.config.Listen.IsActivated() {
		return
	}
	ln, err := socket.Listen(ctx, m.config.Listen, socket.ListenOptions{KeepAlive: m.config.KeepAlive, Activation: activation})
	if err == nil { // otherwise that is told when the tunnel is tried again
		m.held = ln
	}
}

// letGo closes what is held.
func (m *member) letGo() error {
	if m.held == nil {
		return nil
	}
	err := m.held.Close()
	m.held = nil
	return err
}

// place is where a member listens, or holds a socket. There is one of the two.
func (m *member) place() place {
	if m.tunnel == nil {
		return place{"--listen " + m.config.Listen.String(), m.held.Addr()}
	}
	return m.tunnel.place()
}

// name is unique among members.
func (m *member) name() string { return m.config.Name }

// reload loads anew what the tunnel has loaded, or tries once more to start it.
func (m *member) reload(ctx context.Context) error {
	if m.tunnel == nil {
		return m.fleet.retry(ctx, m)
	}
	return m.tunnel.reload(ctx)
}

// news receives when a reload would bring something new.
func (m *member) news() <-chan struct{} {
	if m.tunnel == nil {
		return nil
	}
	return m.tunnel.news()
}

// why is why it does not run; nil if it does.
func (m *member) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fault
}

// failed takes note of why it does not run.
func (m *member) failed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

// accepts tells whether it takes connections, or should.
func (m *member) accepts() bool { return !m.removed && !m.draining.Load() }

// measure has the metrics, if there are any, tell of the member, before it serves anybody, and the log of its requests.
func (m *member) measure(to *metrics.Metrics) {
	if m.tunnel != nil && m.tunnel.web != nil {
		m.tunnel.web.Observe = newExchanges(m.tunnel, m.fleet.start.Log, to).observe
	}
	if to == nil {
		return
	}
	if m.tunnel == nil {
		to.AddTunnel(metrics.Tunnel{
			Name: m.config.Name, Target: m.config.Upstream.String(), Limit: m.config.MaxConns,
			Counts: m.ledger.counts, Bytes: m.ledger.bytes, // whoever came before it failed may still be connected
		})
		return
	}
	r := to.AddTunnel(m.tunnel.measured(m.ledger))
	m.tunnel.server.Observer = proxy.Observer{
		Accepted:  r.Accepted,
		Failed:    r.Failed,
		Handshake: r.Handshake,
		Dialled:   r.Dialled,
		Opened:    r.Opened,
		Closed:    r.Closed,
	}
}

// report is what the status port tells about the member.
func (m *member) report() status.Tunnel {
	told := status.Tunnel{
		Name:            m.config.Name,
		Mode:            string(m.config.Mode),
		Listen:          m.config.Listen.String(),
		Forward:         m.config.Upstream.String(),
		Fault:           m.why(),
		Draining:        !m.accepts(),
		Removed:         m.removed,
		Connections:     m.ledger.counts,
		OpenConnections: m.connections,
	}
	if m.tunnel != nil {
		told.Check, told.Certificates = m.tunnel.check, m.tunnel.shownCertificates
		if m.tunnel.routes != nil {
			told.Routes = m.tunnel.shownRoutes
		}
		if spreads(m.config) {
			told.Targets = m.tunnel.shownTargets
		}
	}
	return told
}

// connections are those in hand, those from before a reload replaced the tunnel included.
func (m *member) connections() []status.Connection {
	open := m.ledger.connections()
	out := make([]status.Connection, len(open))
	for i, c := range open {
		out[i] = status.Connection{
			ID: c.ID, State: string(c.State), Identity: c.Identity, Remote: c.Remote, Route: c.Route, Target: c.Target,
			ServerName: c.ServerName, ALPN: c.ALPN, TLSVersion: c.TLSVersion, Since: c.Since, BytesIn: c.BytesIn, BytesOut: c.BytesOut,
		}
	}
	return out
}
