package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// maxNested is how many routes and further identities a file may have, those of
// aliases counted each time.
const maxNested = 4096

// defaultRoute is what the tunnel's own settings are called where it has routes.
const defaultRoute = "default"

// What stands for the commands that would do what a route does, and what a
// further identity is for.
var (
	routeCommand    = command{set: inRoute}
	identityCommand = command{set: inIdentity}
)

// nest reads a key of a tunnel in server mode, or of a route, that is a list of
// mappings. It tells whether the key is one.
func (f *file) nest(d *draft, e entry) bool {
	switch list := e.name == keyRoutes || e.name == keyIdentities; {
	case list && d.command == &eitherMode: // something else is to be mended first
	case e.name == keyRoutes && d.command.set == inServer:
		f.routes(d, e)
	case e.name == keyIdentities && d.command.set&(inServer|inRoute) != 0:
		f.identities(d, e)
	default:
		return false
	}
	return true
}

// items are the mappings of a list.
func (f *file) items(e entry) []*yaml.Node {
	list := target(e.value)
	switch {
	case list.Kind != yaml.SequenceNode:
		f.fault(placeOf(e.key), "%s: takes a list, and this is %s; write - in front of each", e.name, kindOf(list))
		return nil
	case len(list.Content) == 0:
		f.fault(placeOf(e.key), "%s: empty; leave it out", e.name)
	}
	if f.nested += len(list.Content); f.nested > maxNested {
		f.fault(placeOf(e.key), "%s: more than %d routes and identities in this file, those of aliases counted each time", e.name, maxNested)
		return nil
	}
	return list.Content
}

// routes reads the routes of a tunnel.
func (f *file) routes(t *draft, e entry) {
	names := map[string]place{defaultRoute: placeOf(e.key)}
	for _, n := range f.items(e) {
		if f.full() {
			return
		}
		entries := f.entries(n, "a route is a mapping, with name, server-name, target and more")
		if entries == nil {
			continue
		}
		r := newNested(t, &routeCommand, n)
		if r.tunnel.Name = f.routeName(r.origin.whole, entries, names); r.tunnel.Name != "" {
			r.origin.about += fmt.Sprintf("route %s: ", r.tunnel.Name)
		}
		f.keys(r, entries)
		t.routes = append(t.routes, r)
	}
}

// routeName is what a route is called, or "".
func (f *file) routeName(at place, entries []entry, names map[string]place) string {
	if e := find(entries, keyName); e != nil && target(e.value).Value == defaultRoute {
		f.fault(placeOf(e.key), "%s %q: is what the tunnel's own settings are called; choose another", keyName, defaultRoute)
		return ""
	}
	return f.name(at, entries, "route", names)
}

// identities reads the further identities of a tunnel or a route.
func (f *file) identities(d *draft, e entry) {
	for _, n := range f.items(e) {
		if f.full() {
			return
		}
		entries := f.entries(n, "an identity is a mapping, with cert and key, or keystore")
		if entries == nil {
			continue
		}
		id := newNested(d, &identityCommand, n)
		f.keys(id, entries)
		d.identities = append(d.identities, id)
	}
}

// newNested is a draft of what stands in a list of another one.
func newNested(in *draft, c *command, n *yaml.Node) *draft {
	d := newDraft(c)
	d.origin = &Origin{path: in.origin.path, whole: placeOf(n), about: in.origin.about, places: make(map[string]place)}
	return d
}

// keys reads the keys of a route or an identity.
func (f *file) keys(d *draft, entries []entry) {
	for _, e := range entries {
		if e.name == keyName && d.command.set == inRoute || f.nest(d, e) {
			continue
		}
		s := findKey(e.name, d.command.set)
		if s == nil {
			f.unknown(e, d.command.set, d)
			continue
		}
		if isNull(target(e.value)) && (s.name == "cacert" || s.name == "crl") { // the tunnel's is taken away
			d.from[s.name] = placeOf(e.key).source(s.name)
			continue
		}
		f.set(d, s, e, false)
	}
}

// servesRoutesAlone tells whether a tunnel has routes, and refuses all clients
// that none of them is for. Identity and access are theirs then.
func (d *draft) servesRoutesAlone() bool { return len(d.routes) > 0 && d.tunnel.Upstream.IsZero() }

// finishRoutes checks the routes and further identities of a tunnel, of which
// those faults have been found, and makes them part of it.
func (f *file) finishRoutes(t *draft, known []error) {
	t.tunnel.Identities = f.finishIdentities(t)
	whole := *t // before it has routes
	names := make(map[string]*draft)
	for _, r := range t.routes {
		merged := r.within(&whole)
		if len(r.identities) > 0 {
			merged.tunnel.Identities = f.finishIdentities(r)
		}
		faults := slices.DeleteFunc(merged.checkRoute(), func(err error) bool {
			return slices.ContainsFunc(known, func(same error) bool { return same.Error() == err.Error() })
		})
		if api := whole.tunnel.Identity.WorkloadAPI; api.Use && !merged.tunnel.Identity.WorkloadAPI.Use && merged.needsTrust() {
			faults = append(faults, errors.New("--cacert: missing; the tunnel's trust comes from the Workload API with an identity that the route does not use"))
		}
		for _, name := range r.serverNames {
			if other := names[name]; other != nil {
				faults = append(faults, fmt.Errorf("%s: %s is of route %s in line %d too; a name leads one way", r.name("server-name"), name, other.tunnel.Name, other.origin.whole.line))
			}
			names[name] = r
		}
		f.judge(merged, faults, t.broken, f.shared.broken)
		t.tunnel.Routes = append(t.tunnel.Routes, Route{Name: r.tunnel.Name, ServerNames: r.serverNames, Tunnel: merged.tunnel})
	}
}

// finishIdentities checks the further identities of a tunnel or a route.
func (f *file) finishIdentities(d *draft) []Identity {
	if len(d.identities) > 0 && d.tunnel.Identity.IsZero() && (d.command.set == inRoute || d.servesRoutesAlone()) {
		f.judge(d, []error{errors.New(keyIdentities + " are further ones: give --cert with --key, or --keystore, beside them")})
	}
	var all []Identity
	for _, id := range d.identities {
		f.judge(id, appendFaults(nil, id.checkFurther()))
		all = append(all, id.tunnel.Identity)
	}
	return all
}

// within is the draft of a tunnel that served the route's clients alone: what the
// route says is in place of what its tunnel says about the same.
func (d *draft) within(tunnel *draft) *draft {
	merged := *tunnel
	merged.routes, merged.identities = nil, nil
	merged.origin, merged.serverNames = d.origin, d.serverNames
	merged.tunnel.Origin = d.origin
	merged.broken = slices.Clone(d.broken)
	merged.from = maps.Clone(tunnel.from)
	take := func(about func(*setting) bool, then func()) {
		if !slices.ContainsFunc(settings, func(s setting) bool {
			_, given := d.from[s.name]
			return given && s.commands&inRoute != 0 && about(&s)
		}) {
			return
		}
		for i := range settings {
			if s := &settings[i]; s.commands&(inServer|inRoute) != 0 && about(s) {
				delete(merged.from, s.name)
				if source, given := d.from[s.name]; given {
					merged.from[s.name] = source
				}
			}
		}
		then()
	}
	named := func(names ...string) func(*setting) bool {
		return func(s *setting) bool { return slices.Contains(names, s.name) }
	}
	take(ofIdentity, func() { merged.tunnel.Identity, merged.tunnel.Identities = d.tunnel.Identity, nil })
	take(func(s *setting) bool { return s.group == groupAccess }, func() {
		merged.tunnel.Access, merged.tunnel.DisableAuthentication = d.tunnel.Access, d.tunnel.DisableAuthentication
	})
	take(named("cacert"), func() { merged.tunnel.CACert = d.tunnel.CACert })
	take(named("crl"), func() { merged.tunnel.CRLs = d.tunnel.CRLs })
	own, of := &d.tunnel.Upstream, &merged.tunnel.Upstream
	take(named("target"), func() { of.Targets = own.Targets })
	take(named("balance"), func() { of.Balance = own.Balance })
	take(named("health-interval"), func() { of.HealthInterval = own.HealthInterval })
	take(named("health-timeout"), func() { of.HealthTimeout = own.HealthTimeout })
	take(named("resolve-interval"), func() { of.ResolveInterval = own.ResolveInterval })
	take(named("slow-start"), func() { of.SlowStart = own.SlowStart })
	take(named("unsafe-target"), func() { merged.unsafeTarget = d.unsafeTarget })
	return &merged
}

// ofIdentity tells whether a setting says where an identity comes from.
func ofIdentity(s *setting) bool {
	return s.commands&inIdentity != 0 || strings.HasPrefix(s.name, "pkcs11-") || strings.HasPrefix(s.name, "use-workload-api") || strings.HasPrefix(s.name, "auto-")
}

// checkRoute checks the draft of a tunnel that served a route's clients alone.
func (d *draft) checkRoute() []error {
	var faults []error
	for _, check := range []func() error{
		d.checkServerNames,
		d.checkAddresses,
		d.checkUpstream,
		d.checkIdentity,
		d.checkPolicy,
		d.checkAccess,
		d.checkPins,
	} {
		faults = appendFaults(faults, check())
	}
	return faults
}

// checkServerNames wants a route to be for somebody.
func (d *draft) checkServerNames() error {
	if len(d.serverNames) == 0 {
		return errors.New("--server-name: missing; say which names of clients the route is for, such as shop.example.com or *.example.com")
	}
	return nil
}

// needsTrust tells whether somebody's chain is looked at, and no file says by whom.
func (d *draft) needsTrust() bool {
	t := &d.tunnel
	return t.CACert == "" && !t.DisableAuthentication && len(t.Access.Pins) == 0
}

// checkFurther wants the files of one identity.
func (d *draft) checkFurther() error {
	id := &d.tunnel.Identity
	switch {
	case id.Keystore == "" && id.Cert == "" && id.Key == "":
		return errors.New("no identity: give --cert with --key, or --keystore")
	case id.Keystore != "" && (id.Cert != "" || id.Key != ""):
		return errors.New("more than one identity: give --cert with --key, or --keystore; the other one is an item of its own")
	case id.Cert != "" && id.Key == "":
		return fmt.Errorf("%s: needs --key too", d.name("cert"))
	}
	return d.checkParts()
}

// namePattern is a DNS name as clients send it (RFC 6066, 3), or a wildcard.
var namePattern = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// parseNamePattern reads a DNS name, or a wildcard for those one label below one.
func parseNamePattern(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	isLong := func(label string) bool { return len(label) > 63 }
	_, notIP := netip.ParseAddr(strings.TrimPrefix(name, "*."))
	switch {
	case strings.Contains(strings.TrimPrefix(name, "*."), "*"):
		return "", errors.New("an asterisk stands for the whole first label alone, as in *.example.com")
	case strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }):
		return "", errors.New("has letters that DNS has not; write it as clients send it, with xn-- in front")
	case !namePattern.MatchString(name) || notIP == nil || len(name) > 253 || slices.ContainsFunc(strings.Split(name, "."), isLong):
		return "", errors.New("not a DNS name; write it like shop.example.com or *.example.com")
	}
	return name, nil
}
