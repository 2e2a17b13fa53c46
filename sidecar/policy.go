package sidecar

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/config"
	"sallyport/policy"
	"sallyport/proxy"
)

// loadPolicy loads the tunnel's policy; without one it returns nil.
func loadPolicy(ctx context.Context, c *config.Tunnel) (*policy.Policy, error) {
	asked := c.Access.Policy
	if asked == (config.Policy{}) {
		return nil, nil
	}
	p, err := policy.Load(ctx, asked.Path, asked.Query, c.ConnectTimeout)
	if err != nil {
		return nil, wrapPolicy(c, err)
	}
	return p, nil
}

// reloadPolicy loads the tunnel's policy anew, if it has one.
func (t *tunnel) reloadPolicy(ctx context.Context) error {
	if t.policy == nil {
		return nil
	}
	return wrapPolicy(t.config, t.policy.Reload(ctx))
}

// wrapPolicy names the flag in an error of the policy.
func wrapPolicy(c *config.Tunnel, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--%s-policy %s: %w", accessPrefix(c), c.Access.Policy.Path, err)
}

// accessPrefix is what the names of the tunnel's access flags begin with.
func accessPrefix(c *config.Tunnel) string {
	if c.Mode == config.Client {
		return "verify"
	}
	return "allow"
}

// orPolicy returns what lets in those whom the policy lets in, beside those whom the access flags do. It has to be asked with
// the address of the peer as each handshake begins.
func orPolicy(flags auth.Authorizer, asked *policy.Policy) func(remote net.Addr) func(tls.ConnectionState) error {
	return func(remote net.Addr) func(tls.ConnectionState) error {
		return auth.Any(flags, asked.Authorizer(remote))
	}
}

// targetConfig returns what gives the config for a connection to a target with that name at an address, where one of the protocols
// is to be agreed on. Resume has it resume a session that another one has begun.
func (t *tunnel) targetConfig(serverName string, protocols []string, resume bool) func(net.Addr) *tls.Config {
	options := t.clientOptions(serverName)
	options.NextProtos = protocols
	options.Resume = resume && t.config.TLS.Resumption
	return t.source.ClientConfigs(options)
}

// dialTLS is proxy.TLSDialer with a config that may differ from one connection to the next. It dials a second time where the
// first came to nothing because a session was to be resumed.
func dialTLS(
	dial func(context.Context) (net.Conn, error), config func(net.Addr) *tls.Config, gate *proxy.Gate,
) func(context.Context) (net.Conn, error) {
	once := func(ctx context.Context) (conn net.Conn, again bool, err error) {
		socket, err := dial(ctx)
		if err != nil {
			return nil, false, err
		}
		dialled := func(context.Context) (net.Conn, error) { return socket, nil }
		config := config(socket.RemoteAddr())
		conn, err = proxy.TLSDialer(dialled, config, gate)(ctx)
		return conn, err != nil && ctx.Err() == nil && certloader.FailedToResume(config), err
	}
	return func(ctx context.Context) (net.Conn, error) {
		conn, again, err := once(ctx)
		if again {
			conn, _, err = once(ctx)
		}
		return conn, err
	}
}
