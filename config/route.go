package config

import "log/slog"

// Route is what becomes of those clients of a tunnel in server mode that ask for
// certain names when they begin TLS.
type Route struct {
	Name string // unique in the tunnel, and not "default", which is what the tunnel's own settings are called

	// ServerNames are the names, in lower case: DNS names, and wildcards such as
	// *.example.com, in which the asterisk is exactly one label. A name goes before
	// a wildcard that it matches. No two routes of a tunnel have the same one.
	ServerNames []string

	// Tunnel is what a tunnel would be that served these clients alone: identity,
	// trust, access and target as the route says or, where it does not, as the
	// tunnel does that it is of. All else is that tunnel's.
	Tunnel
}

// LogValue is the route for the log: what it may have of its own, but for secrets.
func (r *Route) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Any("server_names", r.ServerNames),
		slog.Any("upstream", &r.Upstream),
		slog.Any("identity", r.Identity),
		slog.String("cacert", r.CACert),
		slog.Any("crl", r.CRLs),
		slog.Bool("disable_authentication", r.DisableAuthentication),
		slog.Any("access", r.Access),
	}
	for _, further := range r.Identities {
		attrs = append(attrs, slog.Any("further_identity", further))
	}
	return slog.GroupValue(attrs...)
}
