package config

import (
	"fmt"
	"net/netip"
	"strings"

	"sallyport/auth"
)

// Access is who is let in beyond holding a certificate that the trust covers,
// or, with Pins, in place of that. Any match is enough. The zero value names nobody.
type Access struct {
	All                 bool // every verified peer; goes with no other
	CommonNames         []string
	OrganizationalUnits []string
	DNSNames            []string
	URIs                []auth.URIPattern
	IPs                 []netip.Addr
	Policy              Policy

	// Pins are the public keys of those who are let in whatever else their
	// certificates say: chain, dates, names and CRLs do not count. They go with
	// no other.
	Pins []auth.Pin
}

// IsZero tells whether a names nobody.
func (a Access) IsZero() bool {
	return !a.All && len(a.CommonNames) == 0 && len(a.OrganizationalUnits) == 0 &&
		len(a.DNSNames) == 0 && len(a.URIs) == 0 && len(a.IPs) == 0 && len(a.Pins) == 0 &&
		a.Policy == (Policy{})
}

// Policy is a policy in Rego that says who is let in. The zero value is none;
// otherwise both of its fields are set.
type Policy struct {
	Path  string // a bundle, which is a directory or an archive, or a .rego file
	Query string // the expression that has to be true
}

// checkAccess wants it said who may connect to a server, and said once.
func (d *draft) checkAccess() error {
	t := &d.tunnel
	if t.DisableTLS {
		return nil // checkPlain has judged
	}
	var offered, given []string
	for i := range settings {
		s := &settings[i]
		if s.group != groupAccess || s.commands&inServer == 0 {
			continue
		}
		if !s.hidden && s.name != "allow-query" { // goes with --allow-policy
			offered = append(offered, "--"+s.name)
		}
		// A switch may have been turned off: its field tells.
		if source, ok := d.from[s.name]; ok && !s.isSwitch() {
			given = append(given, source)
		}
	}
	if t.Access.All && len(given) > 0 {
		return fmt.Errorf("%s and %s: the first lets in everybody with a certificate; give one or the other", d.name("allow-all"), strings.Join(given, ", "))
	}
	if t.Access.All {
		given = append(given, d.name("allow-all"))
	}
	switch {
	case t.DisableAuthentication && len(given) > 0:
		return fmt.Errorf("%s and %s: without client certificates there is nobody to choose from; give one or the other", d.name("disable-authentication"), strings.Join(given, ", "))
	case len(given) == 0 && !t.DisableAuthentication && !d.servesRoutesAlone():
		return fmt.Errorf("nobody may connect: give %s", either(offered))
	}
	return nil
}

// checkPolicy wants a policy and what to ask it, or neither.
func (d *draft) checkPolicy() error {
	path, query := "allow-policy", "allow-query"
	if d.tunnel.Mode == Client {
		path, query = "verify-policy", "verify-query"
	}
	switch p := &d.tunnel.Access.Policy; {
	case p.Path != "" && p.Query == "":
		return fmt.Errorf("%s: needs --%s, which says what to ask the policy, such as data.access.allow", d.name(path), query)
	case p.Path == "" && p.Query != "":
		return fmt.Errorf("%s: needs --%s, which says what policy to ask", d.name(query), path)
	}
	return nil
}
