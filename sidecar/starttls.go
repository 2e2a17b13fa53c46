package sidecar

import (
	"context"
	"crypto/tls"
	"net"

	"sallyport/proxy"
	"sallyport/starttls"
)

// serverUpgrade has clients find TLS where the protocol has it.
func serverUpgrade(protocol *starttls.Protocol) func() proxy.Upgrade {
	return func() proxy.Upgrade {
		server := protocol.Server()
		return proxy.Upgrade{Client: server.Upgrade, Join: server.Join}
	}
}

// clientUpgrade finds a target's TLS where the protocol has it.
func clientUpgrade(
	protocol *starttls.Protocol, dial func(context.Context) (net.Conn, error), config func(net.Addr) *tls.Config, gate *proxy.Gate,
) func() proxy.Upgrade {
	return func() proxy.Upgrade {
		session := protocol.Client()
		return proxy.Upgrade{
			Dial: func(ctx context.Context, client net.Conn) (net.Conn, error) {
				upgrade := func(target net.Conn) error { return session.Upgrade(client, target) }
				return dialTLS(proxy.UpgradingDialer(dial, upgrade), config, gate)(ctx)
			},
			Join: session.Join,
		}
	}
}
