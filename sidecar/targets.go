package sidecar

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"sallyport/config"
	"sallyport/proxy"
	"sallyport/socket"
	"sallyport/starttls"
	"sallyport/upstream"
)

// targets is where connections go, and how they get there.
type targets struct {
	tunnel   *tunnel
	to       *config.Upstream
	gate     *proxy.Gate
	protocol *starttls.Protocol // nil: TLS from the first byte, or none
	dial     dialer             // connects to one of them, over TLS in client mode; nil: there are none

	group  *upstream.Group // nil: there is one at most, which is dialled as it is
	socket dialer          // connects to that one; nil: there is a group, or none

	heard atomic.Pointer[heard] // of that one, by the latest check; nil: nothing yet

	// By target, in client mode: what gives the config for a connection to an address.
	configs, probes []targetConfig
}

// heard is what a check has found out.
type heard struct {
	at time.Time
	up bool
}

// targetConfig gives the config for a connection to an address.
type targetConfig = func(net.Addr) *tls.Config

// newTargets prepares the way to where connections go. From now on it follows names and checks health, if that is wanted.
func (t *tunnel) newTargets(to *config.Upstream, gate *proxy.Gate) (*targets, error) {
	u := &targets{tunnel: t, to: to, gate: gate}
	if to.IsZero() {
		return u, nil
	}
	if t.config.StartTLS != "" {
		var err error
		if u.protocol, err = starttls.New(t.config.StartTLS); err != nil {
			return nil, fmt.Errorf("--starttls: %w", err)
		}
	}
	if t.config.Mode == config.Client {
		// To resume may take a second connection; where a protocol goes over to TLS, the client has said its part by then.
		u.configs = u.newConfigs(t.config.TLS.Protocols, u.protocol == nil)
		u.probes = u.newConfigs(t.config.TLS.Protocols, false)
	}
	if to.IsBalanced() {
		u.group = u.newGroup()
	} else {
		u.socket = u.dialer(to.Targets[0])(netip.Addr{})
	}
	u.dial = u.dialOver(u.configs)
	return u, nil
}

// newConfigs are those for connections to the targets in client mode, each under its own name.
func (u *targets) newConfigs(protocols []string, resume bool) []targetConfig {
	configs := make([]targetConfig, len(u.to.Targets))
	for i, target := range u.to.Targets {
		configs[i] = u.tunnel.targetConfig(target.ServerName, protocols, resume)
	}
	return configs
}

// dialOver returns what connects to one of the targets, over TLS if there are configs.
func (u *targets) dialOver(configs []targetConfig) dialer {
	var over func(context.Context, int, upstream.DialFunc) (net.Conn, error)
	switch {
	case configs != nil && u.group == nil:
		return u.secured(u.socket, configs[0])
	case u.group == nil:
		return u.socket
	case configs != nil:
		over = func(ctx context.Context, target int, dial upstream.DialFunc) (net.Conn, error) {
			return u.secured(dial, configs[target])(ctx)
		}
	}
	return func(ctx context.Context) (net.Conn, error) { return u.group.Dial(ctx, over) }
}

// secured returns what makes a TLS connection of what dial connects to.
func (u *targets) secured(dial dialer, config targetConfig) dialer {
	return u.tunnel.proxy.named(dialTLS(dial, config, u.gate))
}

// upgraded is dial in client mode where there is something to be said to the target before TLS. The client may take part in
// that, so that then it is too late for another target.
func (u *targets) upgraded(upgrade func(net.Conn) error) dialer {
	if u.group == nil {
		return u.secured(proxy.UpgradingDialer(u.socket, upgrade), u.configs[0])
	}
	return func(ctx context.Context) (net.Conn, error) {
		return u.group.Dial(ctx, func(ctx context.Context, target int, dial upstream.DialFunc) (net.Conn, error) {
			socket, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			dialled := func(context.Context) (net.Conn, error) { return socket, nil }
			conn, err := u.secured(proxy.UpgradingDialer(dialled, upgrade), u.configs[target])(ctx)
			if err != nil {
				return nil, upstream.Final(err)
			}
			return conn, nil
		})
	}
}

// balances are the ways to spread connections.
var balances = map[config.Balance]upstream.Balance{
	config.RoundRobin: upstream.RoundRobin,
	config.LeastConn:  upstream.LeastConn,
	config.First:      upstream.First,
	config.BySource:   upstream.Source,
}

// goBySource tells whether it matters who connects.
func (u *targets) goBySource() bool { return u.to.Balance == config.BySource }

func (u *targets) newGroup() *upstream.Group {
	options := upstream.Options{
		Balance:         balances[u.to.Balance],
		ResolveInterval: u.to.ResolveInterval,
		HealthInterval:  u.to.HealthInterval,
		HealthTimeout:   u.to.HealthTimeout,
		SlowStart:       u.to.SlowStart,
		Reason:          proxy.Reason,
		Hint:            func(reason string) string { return hintFor(u.tunnel.config, atDial, reason) },
		Log:             u.tunnel.log,
	}
	for i, target := range u.to.Targets {
		member := upstream.Target{
			Name:   target.Address.String(),
			Weight: target.Weight,
			Dialer: u.dialer(target),
			Check:  func(ctx context.Context, dial upstream.DialFunc) error { return u.checking(i, dial)(ctx) },
		}
		if target.Expands() && u.tunnel.proxy == nil { // which would look it up
			member.Lookup = func(ctx context.Context) ([]netip.Addr, error) { return socket.Addresses(ctx, target.Address) }
		}
		options.Targets = append(options.Targets, member)
	}
	return upstream.New(options)
}

// dialer returns what connects to a target, at an address of its name if one is given.
func (u *targets) dialer(target config.Target) func(netip.Addr) upstream.DialFunc {
	return func(ip netip.Addr) upstream.DialFunc {
		switch via := u.tunnel.proxy; {
		case via != nil:
			return via.dialer(target.Address, u.gate)
		case ip.IsValid():
			return socket.Dialer(target.Address.At(ip), u.tunnel.config.KeepAlive)
		}
		return socket.Dialer(target.Address, u.tunnel.config.KeepAlive)
	}
}

// check finds out whether there is a target that is up.
func (u *targets) check(ctx context.Context) error {
	if u.group != nil {
		return u.group.Check(ctx)
	}
	err := u.checking(0, u.socket)(ctx)
	u.heard.Store(&heard{time.Now(), err == nil})
	return err
}

// checking returns how to find out whether the target that dial connects to is up.
func (u *targets) checking(target int, dial dialer) func(context.Context) error {
	switch {
	case u.configs == nil && u.protocol == nil:
		return u.tunnel.backend(dial, nil)
	case u.configs == nil:
		return u.tunnel.backend(dial, u.protocol.Leave(false))
	case u.protocol == nil:
		return shaken(dial, u.probes[target], nil)
	}
	return shaken(proxy.UpgradingDialer(dial, u.protocol.Probe), u.probes[target], u.protocol.Leave(true))
}

// close ends what newTargets has begun. Nil has begun nothing.
func (u *targets) close() {
	if u != nil && u.group != nil {
		u.group.Close()
	}
}

// resolve looks up the names that the tunnel connects to, if they are to be looked up at start: the targets', or that of the
// proxy, which looks up the targets'.
func resolve(ctx context.Context, c *config.Tunnel) error {
	if c.SkipResolve {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	if !c.Proxy.IsZero() {
		return unresolved("--proxy "+c.Proxy.String(), socket.Resolve(ctx, c.Proxy.Address))
	}
	for _, target := range c.Upstream.Targets {
		if err := unresolved("--target "+target.Address.String(), socket.Resolve(ctx, target.Address)); err != nil {
			return err
		}
	}
	return nil
}

// unresolved names the flag in an error of a lookup.
func unresolved(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; --skip-resolve starts without looking it up", flag, err)
}
