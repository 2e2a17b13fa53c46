package sidecar

import (
	"context"
	"fmt"
	"net"
	"strings"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/socket"
)

// listeners finds out whether two tunnels would listen at one place that they call by different names, and returns where they do.
func (c *checkup) listeners(tunnels []config.Tunnel) []place {
	var places []place
	for i := range tunnels {
		c.origin = tunnels[i].Origin
		places = c.listener("--listen", tunnels[i].Listen, places)
	}
	return places
}

// listener is listeners for one address beside others. It returns all that there are then.
func (c *checkup) listener(flag string, a socket.Address, others []place) []place {
	if a.Network() != "tcp" {
		return others
	}
	addr, err := net.ResolveTCPAddr("tcp", a.String())
	if err != nil {
		return others // which has been told
	}
	at := place{flag + " " + a.String(), addr}
	if err := at.distinctFrom(others); err != nil {
		c.problem(err)
		return others
	}
	return append(others, at)
}

// upstream reports on where connections go, and how they are spread if there is a choice.
func (c *checkup) upstream(ctx context.Context, t *config.Tunnel) {
	u := &t.Upstream
	for _, target := range u.Targets {
		c.host(ctx, "target", "--target", target.String(), target.Address, t.SkipResolve || !t.Proxy.IsZero())
	}
	if !u.IsBalanced() {
		return
	}
	health := "no health checks"
	if u.HealthInterval > 0 {
		health = fmt.Sprintf("health checks every %v", u.HealthInterval)
	}
	c.line("    %-10s %s, %s", "balance", u.Balance, health)
}

// proxy reports on the proxy through which the target is reached.
func (c *checkup) proxy(ctx context.Context, t *config.Tunnel) {
	if t.Proxy.IsZero() {
		return
	}
	p, err := newUpstreamProxy(ctx, t)
	if err != nil {
		c.problem(err)
		return
	}
	c.host(ctx, "proxy", "--proxy", t.Proxy.String(), t.Proxy.Address, t.SkipResolve)
	if user := p.credentials.Load().user; user != "" {
		c.line("    %-10s %s", "user", user)
	}
	if p.source == nil {
		return
	}
	for _, cert := range p.source.Certificates() {
		if cert.Role == certloader.RoleCA {
			continue
		}
		c.certificate("shows", "certificate", cert.X509)
		if fault := validity(cert.X509, c.now); fault != "" {
			c.problem(fmt.Errorf("--proxy-cert %s: %s %s", t.Proxy.Cert, title(cert.X509), fault))
		}
	}
	if t.Proxy.CACert == "" {
		c.line("    %-10s the system's CAs", "trust")
	} else {
		c.bundle("  trust", "--proxy-cacert "+t.Proxy.CACert, authorities(p.source))
	}
	if err := p.close(); err != nil {
		c.problem(err)
	}
}

// proxyProtocol reports on the PROXY headers that are read and written.
func (c *checkup) proxyProtocol(t *config.Tunnel) {
	if !t.HeaderPeers.IsZero() {
		c.line("  %-12s required from %s, refused from others", "PROXY header", strings.Join(t.HeaderPeers.Strings(), ", "))
	}
	if t.Announce != "" {
		c.line("  %-12s sent to the target: v2, %s", "PROXY header", t.Announce)
	}
}

// address reports on an address, if it is one; the host's name is looked up, unless it is not to be.
func (c *checkup) address(ctx context.Context, what, flag string, at socket.Address, skip bool) {
	if !at.IsZero() {
		c.host(ctx, what, flag, at.String(), at, skip)
	}
}

// host is address for what was given in another form.
func (c *checkup) host(ctx context.Context, what, flag, given string, at socket.Address, skip bool) {
	if skip {
		c.line("  %-12s %s, not looked up", what, given)
		return
	}
	c.line("  %-12s %s", what, given)
	if err := socket.Resolve(ctx, at); err != nil {
		c.problem(fmt.Errorf("%s %s: %w", flag, given, err))
	}
}
