package sidecar

import (
	"context"
	"net"

	"sallyport/config"
	"sallyport/proxy"
	"sallyport/webproxy"
)

// forwardHTTP has the tunnel forward requests rather than bytes. Dial is how to connect to the target without TLS.
func (t *tunnel) forwardHTTP(dial func(context.Context) (net.Conn, error), gate *proxy.Gate) {
	limits := t.config.Requests
	t.web = &webproxy.Proxy{
		Dial:            t.server.Reacher(t.server.Dial),
		TargetTLS:       t.config.Mode == config.Client,
		TargetH2C:       limits.TargetH2C,
		Forwarded:       limits.Forwarded,
		MaxHeaderBytes:  limits.MaxHeaderBytes,
		MaxBodyBytes:    limits.MaxBodyBytes,
		MaxRequests:     limits.MaxRequests,
		HeaderTimeout:   limits.HeaderTimeout,
		ReadTimeout:     limits.ReadTimeout,
		IdleTimeout:     limits.IdleTimeout,
		ResponseTimeout: limits.ResponseTimeout,
		CloseTimeout:    t.config.CloseTimeout,
		Log:             t.log,
	}
	if t.web.TargetTLS { // WebSocket is of HTTP/1.1
		upgrading := t.targetConfigFor([]string{"http/1.1"}, true)
		t.web.DialUpgrade = t.server.Reacher(t.proxy.named(dialTLS(dial, upgrading, gate)))
	}
	t.server.Handle = func(ctx context.Context, client *proxy.Client) { t.web.Handle(ctx, client) }
}
