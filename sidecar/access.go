package sidecar

import (
	"fmt"
	"log/slog"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/config"
)

// authorizer lets in whom the access flags name, but for pins, which decide about more than an authorizer does. Under SPIFFE a
// federated trust domain answers for the IDs of its workloads alone: names of another kind are matched in the source's own
// domain.
func authorizer(a config.Access, source *certloader.Source) auth.Authorizer {
	if a.All {
		return auth.AnyPeer()
	}
	var rules, names []auth.Authorizer
	for _, name := range a.CommonNames {
		names = append(names, auth.CommonName(name))
	}
	for _, unit := range a.OrganizationalUnits {
		names = append(names, auth.OrganizationalUnit(unit))
	}
	for _, name := range a.DNSNames {
		names = append(names, auth.DNSName(name))
	}
	for _, ip := range a.IPs {
		names = append(names, auth.IPAddress(ip))
	}
	for _, pattern := range a.URIs {
		rules = append(rules, auth.URI(pattern))
	}
	return auth.Any(append(rules, auth.When(source.InOwnDomain, auth.Any(names...)))...)
}

// namesOfOneDomain refuses access flags that could match nobody, because it is not known whose names they would be.
func namesOfOneDomain(c *config.Tunnel, source *certloader.Source) error {
	a := c.Access
	if len(a.CommonNames)+len(a.OrganizationalUnits)+len(a.DNSNames)+len(a.IPs) == 0 || source.KnowsOwnDomain() {
		return nil
	}
	return fmt.Errorf("--use-workload-api-addr %s: the agent does not tell which trust domain is the tunnel's own, and --verify-cn, -ou, -dns and -ip hold in that alone; use --verify-uri",
		c.Identity.WorkloadAPI.Address)
}

// warnOfEveryID tells where whoever the Workload API trusts will do, which may be more than its operator thinks of.
func warnOfEveryID(c *config.Tunnel, log *slog.Logger) {
	switch {
	case !c.Identity.WorkloadAPI.Use:
	case c.Mode == config.Client && c.Access.IsZero():
		log.Warn("every SPIFFE ID of a trusted domain, federated ones too, will do for the target; --verify-uri says which one is meant")
	case c.Access.All:
		log.Warn("--allow-all lets in every SPIFFE ID of a trusted domain, federated ones too; --allow-uri says which ones are meant")
	}
}
