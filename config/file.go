package config

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// maxTunnels is how many tunnels a file may have.
const maxTunnels = 4096

// The keys of a file that are no settings.
const (
	keyDefaults = "defaults"
	keyTunnels  = "tunnels"
	keyName     = "name"
	keyMode     = "mode"

	keyRoutes     = "routes"     // of a tunnel
	keyIdentities = "identities" // of a tunnel or a route
)

// file is a configuration file that is being read.
type file struct {
	path    string
	env     func(string) (string, bool)
	values  int // read so far
	names   map[string]place
	nested  int // routes and identities read so far
	faults  []fault
	tunnels []*draft
	shared  draft // takes note of what is wrong with defaults
}

// entry is a key of a mapping, with its value.
type entry struct {
	name       string
	key, value *yaml.Node
}

// setFile reads the configuration file, if the command has one: what belongs to
// the process into d, unless a flag or a variable has said it already, and each
// tunnel into a draft of its own. What is wrong with it is told by finish, when
// all is known.
func (d *draft) setFile(env func(string) (string, bool)) error {
	if d.command.set != inRun {
		return nil
	}
	if d.configFile == "" {
		return errors.New("--config: missing; say which file has the tunnels, such as --config sallyport.yaml")
	}
	text, err := readFile(d.configFile)
	if err != nil {
		return fmt.Errorf("%s %q: %w", d.name("config"), d.configFile, errnoOf(err))
	}
	return d.setDocument(text, env)
}

// setDocument is setFile for what is in the file.
func (d *draft) setDocument(text []byte, env func(string) (string, bool)) error {
	root, at, err := parseDocument(text)
	if err != nil {
		return newFaults(d.configFile, []fault{{at, err.Error()}})
	}
	d.file = &file{path: d.configFile, env: env, names: make(map[string]place)}
	d.origin = &Origin{path: d.configFile, process: true, places: make(map[string]place)}
	d.file.process(d, root)
	return nil
}

// process reads the top level.
func (f *file) process(d *draft, root *yaml.Node) {
	var defaults []entry
	var tunnels *yaml.Node
	for _, e := range f.entries(root, "a configuration file is a mapping, with tunnels and more") {
		switch {
		case f.full():
			return
		case e.name == keyDefaults:
			defaults = f.defaults(e.value)
		case e.name == keyTunnels:
			tunnels = target(e.value)
		default:
			f.processKey(d, e)
		}
	}
	switch {
	case tunnels == nil:
		f.fault(place{1, 1}, "%s: missing; it is the list of tunnels", keyTunnels)
		return
	case tunnels.Kind != yaml.SequenceNode:
		f.fault(placeOf(tunnels), "%s: takes a list, and this is %s; write - in front of each tunnel", keyTunnels, kindOf(tunnels))
		return
	case len(tunnels.Content) == 0:
		f.fault(placeOf(tunnels), "%s: empty; it needs at least one", keyTunnels)
	case len(tunnels.Content) > maxTunnels:
		f.fault(placeOf(tunnels), "%s: %d of them, and one process has room for %d", keyTunnels, len(tunnels.Content), maxTunnels)
		return
	}
	for _, n := range tunnels.Content {
		if f.full() {
			return
		}
		f.tunnel(n, defaults)
	}
}

// processKey reads a key of the top level.
func (f *file) processKey(d *draft, e entry) {
	s := findKey(e.name, inRun)
	if s == nil {
		f.unknown(e, inRun, d)
		return
	}
	if _, given := d.from[s.name]; given { // by a flag or a variable, which win over what is still to be right
		d = newDraft(d.command)
	}
	f.set(d, s, e, false)
}

// defaults reads what tunnels have in common, and keeps what is right.
func (f *file) defaults(n *yaml.Node) []entry {
	var kept []entry
	for _, e := range f.entries(n, keyDefaults+" is a mapping of keys that tunnels have") {
		switch {
		case f.full():
			return kept
		case e.name == keyName || e.name == keyMode:
			f.fault(placeOf(e.key), "%s: each tunnel has its own; put it there", e.name)
			continue
		}
		command := findCommand(string(Server))
		s := findKey(e.name, inServer)
		if s == nil {
			command = findCommand(string(Client))
			s = findKey(e.name, inClient)
		}
		if s == nil {
			f.unknown(e, inTunnel, &f.shared)
			continue
		}
		if f.set(newDraft(command), s, e, false) {
			kept = append(kept, e)
		} else {
			f.shared.broken = append(f.shared.broken, s.name)
		}
	}
	return kept
}

// tunnel reads one tunnel.
func (f *file) tunnel(n *yaml.Node, defaults []entry) {
	entries := f.entries(n, "a tunnel is a mapping, with name, mode, listen, target and more")
	if entries == nil {
		return
	}
	faults := len(f.faults)
	origin := &Origin{path: f.path, whole: placeOf(n), places: make(map[string]place)}
	command := f.mode(origin.whole, entries)
	readable := command != nil
	if !readable {
		command = &eitherMode // so as to find what else is wrong
	}
	t := newDraft(command)
	t.origin = origin
	t.tunnel.Origin = origin
	if t.tunnel.Name = f.name(origin.whole, entries, "tunnel", f.names); t.tunnel.Name != "" {
		origin.about = fmt.Sprintf("tunnel %s: ", t.tunnel.Name)
	}
	removed := make(map[string]bool)
	for _, e := range entries {
		switch {
		case f.full():
			return
		case e.name == keyName || e.name == keyMode:
			continue
		case f.nest(t, e):
			continue
		}
		s := findKey(e.name, command.set)
		if s == nil {
			f.unknown(e, command.set, t)
			continue
		}
		hasDefault := func(d entry) bool { return d.name == e.name }
		if isNull(target(e.value)) && slices.ContainsFunc(defaults, hasDefault) {
			removed[s.name] = true
			continue
		}
		f.set(t, s, e, false)
	}
	for _, e := range defaults {
		s := findKey(e.name, command.set)
		if s == nil || removed[s.name] {
			continue
		}
		if _, own := t.from[s.name]; !own {
			f.set(t, s, e, true)
		}
	}
	t.faulty = len(f.faults) > faults
	if readable {
		f.tunnels = append(f.tunnels, t)
	}
}

// eitherMode stands for the mode of a tunnel that has none.
var eitherMode = command{set: inTunnel}

// mode is the command that would do what a tunnel does, or nil.
func (f *file) mode(at place, entries []entry) *command {
	e := find(entries, keyMode)
	if e == nil {
		f.fault(at, "%s: missing; write server for one that accepts TLS, or client for one that speaks it to its target", keyMode)
		return nil
	}
	text, ok := f.text(*e, keyMode)
	switch Mode(text) {
	case Server, Client:
		return findCommand(text)
	}
	if ok {
		f.fault(placeOf(e.key), "%s %q: no such mode; write server or client", keyMode, target(e.value).Value)
	}
	return nil
}

// name is what a tunnel or a route is called, or "". Names has those that are
// taken.
func (f *file) name(at place, entries []entry, what string, names map[string]place) string {
	e := find(entries, keyName)
	if e == nil {
		f.fault(at, "%s: missing; logs and metrics tell %ss apart by it", keyName, what)
		return ""
	}
	text, ok := f.text(*e, keyName)
	if !ok {
		return ""
	}
	here := placeOf(e.key)
	if !tunnelName.MatchString(text) {
		f.fault(here, "%s %q: %w", keyName, target(e.value).Value, wrongName(what))
		return ""
	}
	if first, taken := names[text]; taken {
		f.fault(here, "%s %q: the %s in line %d has that name; choose another", keyName, text, what, first.line)
		return ""
	}
	names[text] = here
	return text
}

// text reads a key that is no setting.
func (f *file) text(e entry, name string) (string, bool) {
	value := target(e.value)
	if value.Kind != yaml.ScalarNode || isNull(value) {
		f.fault(placeOf(e.key), "%s: takes a single value, and this is %s", name, kindOf(value))
		return "", false
	}
	expanded, err := expand(value.Value, f.env)
	if err != nil {
		f.fault(placeOf(e.key), "%s: %w", name, err)
	}
	return expanded.text(), err == nil
}

// entries takes a mapping apart.
func (f *file) entries(n *yaml.Node, want string) []entry {
	n = target(n)
	if n.Kind != yaml.MappingNode {
		f.fault(placeOf(n), "%s; this is %s", want, kindOf(n))
		return nil
	}
	seen := make(map[string]place)
	entries := make([]entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && !f.full(); i += 2 {
		key := target(n.Content[i])
		e := entry{name: key.Value, key: n.Content[i], value: n.Content[i+1]}
		at := placeOf(e.key)
		first, again := seen[e.name]
		switch {
		case key.Kind != yaml.ScalarNode:
			f.fault(at, "a key is a name, and this is %s", kindOf(key))
		case key.ShortTag() == "!!merge":
			f.fault(at, "key \"<<\": mappings are not merged here; put what tunnels share under %s", keyDefaults)
		case again:
			f.fault(at, "key %s: given twice; line %d has it too", shown(e.name), first.line)
		default:
			seen[e.name] = at
			entries = append(entries, e)
		}
	}
	return entries
}

func find(entries []entry, name string) *entry {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name })
	if i < 0 {
		return nil
	}
	return &entries[i]
}

func (f *file) fault(at place, format string, args ...any) {
	f.faults = append(f.faults, fault{at, fmt.Errorf(format, args...).Error()})
}

// full tells whether enough is wrong to stop looking for more.
func (f *file) full() bool { return len(f.faults) > maxFaults }
