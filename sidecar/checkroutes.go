package sidecar

import (
	"context"
	"fmt"
	"strings"

	"sallyport/certloader"
	"sallyport/config"
)

// routes reports on the tunnel's routes.
func (c *checkup) routes(ctx context.Context, t *config.Tunnel) {
	for i := range t.Routes {
		r := &t.Routes[i]
		c.origin = r.Origin
		c.line("  route %s for %s", r.Name, strings.Join(r.ServerNames, ", "))
		c.upstream(ctx, &r.Tunnel)
		c.route(ctx, t, r)
	}
	if len(t.Routes) > 0 && t.Upstream.IsZero() {
		c.line("  other names are refused")
	}
}

// route reports on what a route has of its own.
func (c *checkup) route(ctx context.Context, t *config.Tunnel, r *config.Route) {
	if !sharesIdentity(r, t) {
		alone := r.Tunnel
		alone.TLS.TicketKeys = "" // which are the tunnel's, and have been told of
		c.served(ctx, &alone)
		c.serverNames(ctx, r)
		return
	}
	c.line("  identity     that of the tunnel")
	if r.Access.Policy != t.Access.Policy {
		c.policy(ctx, &r.Tunnel)
	}
	if sharesTrust(r, t) {
		c.serverNames(ctx, r)
		return
	}
	source, err := certloader.New(ctx, revocable(certloader.Files(certloader.FileOptions{CABundle: r.CACert}), &r.Tunnel))
	if err != nil {
		c.problem(err)
		return
	}
	cas := authorities(source)
	c.trust(&r.Tunnel, cas)
	c.revocation(source.CRLs())
	c.missingLists(&r.Tunnel, nil, cas, source.CRLs())
	if err := source.Close(); err != nil {
		c.problem(err)
	}
	c.serverNames(ctx, r)
}

// serverNames wants a certificate for each name that the route is for, where its identity is in files.
func (c *checkup) serverNames(ctx context.Context, r *config.Route) {
	if r.Identity.Cert == "" && r.Identity.Keystore == "" || r.Identity.PKCS11.Module != "" {
		return
	}
	source, err := c.source(ctx, &r.Tunnel)
	if err != nil {
		return // which has been told
	}
	shown := leaves(source)
	if err := source.Close(); err != nil {
		c.problem(err)
	}
	var all []string
	for _, leaf := range shown {
		all = append(all, names(leaf)...)
	}
	for _, name := range strangeNames(r.ServerNames, shown) {
		c.problem(fmt.Errorf("--server-name %s: clients that ask for it will refuse the certificate, which is for %s", name, strings.Join(all, ", ")))
	}
}
