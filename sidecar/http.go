package sidecar

import (
	"context"

	"sallyport/config"
	"sallyport/proxy"
	"sallyport/webproxy"
)

// web is what forwards the requests of a tunnel. Those of one route share no connection to a target with those of another.
type web struct {
	// Observe is told of each request. It is set before the tunnel serves.
	Observe func(webproxy.Exchange)

	byRoute map[string]*webproxy.Proxy // "" is that of a tunnel without routes
}

// newWeb has the tunnel forward requests rather than bytes.
func (t *tunnel) newWeb() *web {
	w := &web{byRoute: make(map[string]*webproxy.Proxy)}
	if t.routes == nil {
		w.byRoute[""] = t.webTo(w, t.server.Dial)
	} else {
		for _, r := range t.routes.each() {
			to := t.webTo(w, r.forward.Dial)
			to.Misdirected = func(host string) bool { return t.routes.isElsewhere(host, r) }
			w.byRoute[r.name] = to
		}
	}
	if t.config.Mode == config.Client {
		to := w.byRoute[""] // clients have no routes
		to.TargetTLS = true
		// WebSocket is of HTTP/1.1.
		to.DialUpgrade = t.server.StreamReacher(t.targets.dialOver(t.targets.newConfigs([]string{"http/1.1"}, true)))
	}
	t.server.Handle = func(ctx context.Context, client *proxy.Client) { w.byRoute[client.Route()].Handle(ctx, client) }
	return w
}

// webTo forwards requests to one target.
func (t *tunnel) webTo(w *web, dial dialer) *webproxy.Proxy {
	limits := t.config.Requests
	return &webproxy.Proxy{
		Dial:            t.server.Reacher(dial),
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
		Observe:         w.observe,
		Log:             t.log,
	}
}

func (w *web) observe(e webproxy.Exchange) {
	if w.Observe != nil {
		w.Observe(e)
	}
}

// refresh has requests that follow go over new connections.
func (w *web) refresh() {
	for _, to := range w.byRoute {
		to.Refresh()
	}
}

// close ends what is left of the tunnel's connections.
func (w *web) close() {
	for _, to := range w.byRoute {
		to.Close()
	}
}
