package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// set gives a setting the value of a key, or its values, and tells whether they
// were right. The draft takes note of where they stand.
func (f *file) set(d *draft, s *setting, e entry, isDefault bool) bool {
	at, value := placeOf(e.key), target(e.value)
	ok := true
	switch {
	case value.Kind == yaml.ScalarNode:
		ok = f.value(d, s, at, value)
	case value.Kind == yaml.SequenceNode && s.repeats:
		for _, item := range value.Content {
			// One at a time, so that all that are wrong are told.
			ok = f.value(d, s, placeOf(item), target(item)) && ok
		}
	default:
		f.fault(at, "%s: takes %s, and this is %s", s.name, s.wanted(), kindOf(value))
		ok = false
	}
	if !ok {
		d.broken = append(d.broken, s.name)
	}
	d.from[s.name] = at.source(s.name)
	if isDefault {
		d.from[s.name] = fmt.Sprintf("%s (of %s, line %d)", s.name, keyDefaults, at.line)
	} else if d.origin != nil {
		d.origin.places[s.name] = at
	}
	return ok
}

// value reads one value into its setting.
func (f *file) value(d *draft, s *setting, at place, n *yaml.Node) bool {
	f.values++
	switch {
	case f.values == maxValues:
		f.fault(at, "%s: more than %d values in this file, those of aliases and %s counted each time", s.name, maxValues, keyDefaults)
		return false
	case f.values > maxValues || f.full():
		return false
	case n.Kind != yaml.ScalarNode:
		f.fault(at, "%s: takes %s, and this is %s", s.name, s.wanted(), kindOf(n))
		return false
	case isNull(n):
		f.fault(at, "%s: the value is missing; write %s: %s, or leave it out", s.name, s.name, s.placeholder())
		return false
	case n.Style&yaml.TaggedStyle != 0:
		f.fault(at, "%s: tags mean nothing here; a value that begins with ! goes in quotes", s.name)
		return false
	case n.ShortTag() == "!!bool" && !s.isSwitch():
		f.fault(at, "%s: takes %s, not %s; write it in quotes if it is meant so", s.name, s.wanted(), n.Value)
		return false
	}
	expanded, err := expand(n.Value, f.env)
	if err != nil {
		f.fault(at, "%s: %w", s.name, err)
		return false
	}
	if err := d.set(s, s.name, expanded.text()); err != nil {
		f.fault(at, "%s", expanded.requoted(err.Error()))
		return false
	}
	return true
}

// wanted is what a setting takes, in an error.
func (s *setting) wanted() string {
	switch {
	case s.isSwitch():
		return "true or false"
	case s.repeats:
		return s.value + ", or a list of it"
	}
	return s.value
}

// findKey is the setting that a key of a file stands for, in any of commands;
// tunnels have no keys that belong to the process. It is nil if there is none.
func findKey(name string, commands commandSet) *setting {
	s := findSetting(name, commands)
	if s == nil || s.name != name || s.flagOnly || commands != inRun && s.commands&inRun != 0 {
		return nil
	}
	return s
}

// keyNames are the keys that there are where those of commands are.
func keyNames(commands commandSet) []string {
	names := []string{keyName, keyMode}
	switch commands {
	case inRun:
		names = []string{keyDefaults, keyTunnels}
	case inServer:
		names = append(names, keyRoutes, keyIdentities)
	case inRoute:
		names = []string{keyName, keyIdentities}
	case inIdentity:
		names = nil
	}
	for i := range settings {
		if s := &settings[i]; findKey(s.name, commands) == s {
			names = append(names, s.name)
		}
	}
	return names
}

// unknown tells of a key that is none where it stands.
func (f *file) unknown(e entry, here commandSet, d *draft) {
	at := placeOf(e.key)
	alias := findSetting(e.name, here)
	near := nearest(strings.ToLower(e.name), keyNames(here))
	if alias != nil && findKey(alias.name, here) != nil {
		near = alias.name
	}
	if near != "" {
		d.broken = append(d.broken, near)
	}
	there, where := inRun, "at the top level"
	if here == inRun {
		there, where = inTunnel, "in a tunnel"
	}
	switch elsewhere := shown(e.name); {
	case here == inRun && findKey(e.name, inTunnel) != nil:
		f.fault(at, "key %s: belongs to a tunnel; put it into one of %s, or into %s for all", elsewhere, keyTunnels, keyDefaults)
	case here != inRun && findKey(e.name, inRun) != nil:
		f.fault(at, "key %s: belongs to the process; put it at the top level", elsewhere)
	case (here == inRoute || here == inIdentity) && findKey(e.name, inServer) != nil:
		f.fault(at, "key %s: is for the whole tunnel; put it there", elsewhere)
	case here == inClient && (e.name == keyRoutes || e.name == keyIdentities):
		f.fault(at, "key %s: has a meaning in server mode alone; leave it out", elsewhere)
	case here == inServer && findKey(e.name, inClient) != nil:
		f.fault(at, "key %s: has a meaning in client mode alone; leave it out", elsewhere)
	case here == inClient && findKey(e.name, inServer) != nil:
		f.fault(at, "key %s: has a meaning in server mode alone; leave it out", elsewhere)
	case near != "":
		f.fault(at, "unknown key %s; did you mean %s?", elsewhere, near)
	default:
		if near = nearest(strings.ToLower(e.name), keyNames(there)); near != "" {
			f.fault(at, "unknown key %s; did you mean %s, %s?", elsewhere, near, where)
			return
		}
		f.fault(at, "unknown key %s; sallyport --config-schema lists all", elsewhere)
	}
}

// shown is a key for an error: its beginning will do.
func shown(text string) string {
	const most = 64
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strconv.Quote(text)
}
