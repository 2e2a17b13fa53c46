package sidecar

import (
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"

	"sallyport/certloader"
	"sallyport/config"
)

// certificate is one in use.
type certificate struct {
	certloader.Certificate
	route string // whose it is; "": the tunnel's own
}

// certificates are those that the routes have of their own. CAs that are the tunnel's too are left out.
func (r *routes) certificates(tunnel []certificate) []certificate {
	if r == nil {
		return nil
	}
	var all []certificate
	for _, one := range r.all {
		if one.own == nil {
			continue
		}
		for _, cert := range one.own.Certificates() {
			same := func(known certificate) bool { return known.Role == cert.Role && known.X509.Equal(cert.X509) }
			if cert.Role == certloader.RoleCA && slices.ContainsFunc(tunnel, same) {
				continue
			}
			all = append(all, certificate{cert, one.name})
		}
	}
	return all
}

// crls are the revocation lists that the routes have of their own.
func (r *routes) crls() []certloader.CRL {
	if r == nil {
		return nil
	}
	var all []certloader.CRL
	for _, one := range r.all {
		if one.own != nil {
			all = append(all, one.own.CRLs()...)
		}
	}
	return all
}

// warnOfNames tells of server names that no certificate of the route is for: their clients will refuse whatever they are shown.
func warnOfNames(c *config.Route, source *certloader.Source, log *slog.Logger) {
	if names := strangeNames(c.ServerNames, leaves(source)); len(names) > 0 {
		log.Warn("no certificate of the route is for a name that it serves; clients will refuse it",
			"route", c.Name, "server_names", strings.Join(names, ","))
	}
}

// leaves are the certificates that a source's identities show first.
func leaves(source *certloader.Source) []*x509.Certificate {
	var all []*x509.Certificate
	for _, cert := range source.Certificates() {
		if cert.Role == certloader.RoleIdentity {
			all = append(all, cert.X509)
		}
	}
	return all
}

// strangeNames are the server names that no certificate is for.
func strangeNames(names []string, certs []*x509.Certificate) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		one := name
		if rest, ok := strings.CutPrefix(name, "*"); ok {
			one = "any" + rest
		}
		return slices.ContainsFunc(certs, func(cert *x509.Certificate) bool { return cert.VerifyHostname(one) == nil })
	})
}
