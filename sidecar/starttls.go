package sidecar

import (
	"context"
	"fmt"
	"net"

	"sallyport/config"
	"sallyport/proxy"
	"sallyport/starttls"
)

// startTLS has the tunnel's side that is TLS go over to it as the tunnel's protocol does. It returns the check of a target that
// speaks that protocol, and what is said last to one that is plain.
func (t *tunnel) startTLS(dial func(context.Context) (net.Conn, error), gate *proxy.Gate) (check func(context.Context) error, leave func(net.Conn) error, _ error) {
	protocol, err := starttls.New(t.config.StartTLS)
	if err != nil {
		return nil, nil, fmt.Errorf("--starttls: %w", err)
	}
	if t.config.Mode == config.Server {
		t.server.Upgrade = serverUpgrade(protocol)
		leave = protocol.Leave(false)
		return t.backend(dial, leave), leave, nil
	}
	config := t.targetConfig(false) // which may take a second connection, and the client has said its part
	t.server.Upgrade = clientUpgrade(protocol, func(upgrade func(net.Conn) error) func(context.Context) (net.Conn, error) {
		return t.proxy.named(dialTLS(proxy.UpgradingDialer(dial, upgrade), config, gate))
	})
	return shaken(proxy.UpgradingDialer(dial, protocol.Probe), t.targetConfig(false), protocol.Leave(true)), nil, nil
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
	protocol *starttls.Protocol, reach func(upgrade func(target net.Conn) error) func(context.Context) (net.Conn, error),
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
