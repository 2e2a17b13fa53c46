package sidecar

import (
	"context"
	"net"

	"sallyport/proxy"
	"sallyport/starttls"
)

// upgrades returns what has the tunnel's side that is TLS go over to it as its protocol does; nil where TLS comes first.
func (u *targets) upgrades() func() proxy.Upgrade {
	switch {
	case u.protocol == nil:
		return nil
	case u.configs == nil:
		return serverUpgrade(u.protocol)
	}
	return clientUpgrade(u.protocol, u.upgraded)
}

// serverUpgrade has clients find TLS where the protocol has it.
func serverUpgrade(protocol *starttls.Protocol) func() proxy.Upgrade {
	return func() proxy.Upgrade {
		server := protocol.Server()
		return proxy.Upgrade{Client: server.Upgrade, Join: server.Join}
	}
}

// clientUpgrade finds a target's TLS where the protocol has it.
func clientUpgrade(
	protocol *starttls.Protocol, reach func(upgrade func(target net.Conn) error) dialer,
) func() proxy.Upgrade {
	return func() proxy.Upgrade {
		session := protocol.Client()
		return proxy.Upgrade{
			Dial: func(ctx context.Context, client net.Conn) (net.Conn, error) {
				return reach(func(target net.Conn) error { return session.Upgrade(client, target) })(ctx)
			},
			Join: session.Join,
		}
	}
}
