package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/metrics"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/status"
)

// routes are what a tunnel does with its clients by the server name that they ask for. Nil is none: all are served alike.
type routes struct {
	all      []*route
	named    certloader.Names[*route]
	fallback *route // for all other names, and for none; nil refuses those
}

// route is a route of a tunnel, put together.
type route struct {
	name    string
	names   []string           // that clients ask for; none: all that no other route has
	config  *config.Tunnel     // what a tunnel would be that served its clients alone
	source  *certloader.Source // of the identity; the tunnel's, if the route has none of its own
	trust   *certloader.Source // whom it trusts, likewise
	policy  *policy.Policy     // nil: none is asked; the tunnel's, likewise
	own     *certloader.Source // what it has loaded of these two; nil: nothing
	tls     *tls.Config
	forward *proxy.Route
	targets *targets
}

// servedBy is the tunnel, and what tunnels its routes would be.
func servedBy(t *config.Tunnel) []*config.Tunnel {
	all := []*config.Tunnel{t}
	for i := range t.Routes {
		all = append(all, &t.Routes[i].Tunnel)
	}
	return all
}

// sharesIdentity tells whether a route has the identity of its tunnel.
func sharesIdentity(r *config.Route, t *config.Tunnel) bool {
	return reflect.DeepEqual(r.Identity, t.Identity) && reflect.DeepEqual(r.Identities, t.Identities)
}

// sharesTrust tells whether a route trusts those whom its tunnel does.
func sharesTrust(r *config.Route, t *config.Tunnel) bool {
	return r.CACert == t.CACert && slices.Equal(r.CRLs, t.CRLs)
}

// defaultRoute is what the tunnel's own settings are called where it has routes.
const defaultRoute = "default"

// newRoutes loads what the tunnel's routes have of their own, and has its server tell clients apart by them.
func (t *tunnel) newRoutes(ctx context.Context, gate *proxy.Gate) error {
	if len(t.config.Routes) == 0 {
		return nil
	}
	t.routes = new(routes)
	if !t.config.Upstream.IsZero() {
		t.routes.fallback = t.newRoute(defaultRoute, t.config, t.source, t.source, t.policy, t.targets)
	}
	for i := range t.config.Routes {
		c := &t.config.Routes[i]
		r, err := t.loadRoute(ctx, c, gate)
		if err != nil {
			return locateRoute(c, err)
		}
		t.routes.all = append(t.routes.all, r)
		for _, name := range c.ServerNames {
			t.routes.named.Set(name, r)
		}
		warnOfNames(c, r.source, t.log)
	}
	var challenged *tls.Config
	if t.config.Identity.ACME.Name != "" {
		challenged = t.server.TLS
	}
	t.server.TLS = certloader.RouteConfig(func(serverName string) *tls.Config {
		if r := t.routes.find(serverName); r != nil {
			return r.tls
		}
		return nil
	}, challenged)
	t.server.Route = func(serverName string) *proxy.Route {
		if r := t.routes.find(serverName); r != nil {
			return r.forward
		}
		return nil
	}
	return nil
}

// newRoute puts a route together.
func (t *tunnel) newRoute(name string, c *config.Tunnel, source, trust *certloader.Source, asked *policy.Policy, to *targets) *route {
	options := serverOptions(c, trust, asked)
	options.Trust, options.Scope = trust, "route "+name
	return &route{
		name: name, config: c, source: source, trust: trust, policy: asked,
		tls:     source.ServerConfig(options),
		forward: &proxy.Route{Name: name, Dial: to.dial},
		targets: to,
	}
}

// loadRoute loads what a route has of its own, and puts it together. What it shares with the tunnel it does not load again: of a
// certificate that somebody issues to the tunnel there is but one.
func (t *tunnel) loadRoute(ctx context.Context, c *config.Route, gate *proxy.Gate) (*route, error) {
	if err := resolve(ctx, &c.Tunnel); err != nil {
		return nil, err
	}
	source, trust, asked := t.source, t.source, t.policy
	var own *certloader.Source
	var provider certloader.Provider
	switch {
	case !sharesIdentity(c, t.config):
		var err error
		if provider, err = newProvider(ctx, &c.Tunnel, t.log); err != nil {
			return nil, err
		}
		provider = completed(provider, &c.Tunnel)
	case !sharesTrust(c, t.config):
		provider = revocable(certloader.Files(certloader.FileOptions{CABundle: c.CACert}), &c.Tunnel)
	}
	if provider != nil {
		var err error
		if own, err = certloader.New(ctx, provider); err != nil {
			return nil, err
		}
		trust = own
		if !sharesIdentity(c, t.config) {
			source = own
		}
	}
	if c.Access.Policy != t.config.Access.Policy {
		var err error
		if asked, err = loadPolicy(ctx, &c.Tunnel); err != nil {
			return nil, errors.Join(err, closeOwn(own))
		}
	}
	to, err := t.newTargets(&c.Upstream, gate)
	if err != nil {
		return nil, errors.Join(err, closeOwn(own))
	}
	r := t.newRoute(c.Name, &c.Tunnel, source, trust, asked, to)
	r.own, r.names = own, c.ServerNames
	return r, nil
}

// find returns the route for a server name; nil if there is none.
func (r *routes) find(serverName string) *route {
	if named, ok := r.named.Find(serverName); ok {
		return named
	}
	return r.fallback
}

// isElsewhere tells whether a name is that of another route. One that no route has may come by any.
func (r *routes) isElsewhere(name string, here *route) bool {
	named, ok := r.named.Find(name)
	return ok && named != here
}

// check finds out whether all targets are up, side by side.
func (r *routes) check(ctx context.Context) error {
	all := r.each()
	errs := make([]error, len(all))
	var asked sync.WaitGroup
	for i, one := range all {
		asked.Go(func() { errs[i] = wrapRoute(one.name, one.targets.check(ctx)) })
	}
	asked.Wait()
	return problems(slices.DeleteFunc(errs, func(err error) bool { return err == nil })).orNil()
}

// each is all routes, the default one last.
func (r *routes) each() []*route {
	if r == nil {
		return nil
	}
	all := slices.Clone(r.all)
	if r.fallback != nil {
		all = append(all, r.fallback)
	}
	return all
}

// reload loads what each route has of its own anew. What fails in one keeps no other from it.
func (r *routes) reload(ctx context.Context, t *tunnel) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, one := range r.all {
		if one.own != nil {
			errs = append(errs, wrapRoute(one.name, one.own.Reload(ctx)))
		}
		if one.policy != nil && one.policy != t.policy {
			errs = append(errs, wrapRoute(one.name, wrapPolicy(one.config, one.policy.Reload(ctx))))
		}
	}
	return errors.Join(errs...)
}

// locateRoute says where in a file the route stands that an error is about or, without one, what it is called.
func locateRoute(c *config.Route, err error) error {
	if c.Origin == nil {
		return wrapRoute(c.Name, err)
	}
	return c.Origin.Locate(err)
}

// wrapRoute names the route in an error.
func wrapRoute(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("route %s: %w", name, err)
}

// close lets go of what the routes have of their own.
func (r *routes) close() error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, one := range r.all {
		one.targets.close()
		errs = append(errs, closeOwn(one.own))
	}
	return errors.Join(errs...)
}

// closeOwn closes what a route has loaded, if it has anything.
func closeOwn(source *certloader.Source) error {
	if source == nil {
		return nil
	}
	return source.Close()
}

// revoked is a [certloader.Source.Revoked] that knows by which route a client came.
func (t *tunnel) revoked(cs tls.ConnectionState) error {
	if t.routes != nil {
		if r := t.routes.find(cs.ServerName); r != nil {
			return r.trust.Revoked(cs)
		}
	}
	return t.source.Revoked(cs)
}

// measured is what the metrics tell about the routes.
func (r *routes) measured() []metrics.Route {
	var measured []metrics.Route
	for _, one := range r.each() {
		measured = append(measured, metrics.Route{Name: one.name, Counts: one.forward.Traffic.Counts})
	}
	return measured
}

// shownRoutes are the tunnel's routes, for the status port.
func (t *tunnel) shownRoutes() []status.Route {
	var shown []status.Route
	for _, r := range t.routes.each() {
		open, total, _ := r.forward.Traffic.Counts()
		shown = append(shown, status.Route{Name: r.name, ServerNames: r.names, Forward: r.config.Upstream.String(), Open: open, Total: total})
	}
	return shown
}
