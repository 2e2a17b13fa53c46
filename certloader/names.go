package certloader

import "strings"

// Names tells what there is for a server name: by that very name before a
// wildcard. The zero value knows no name. It is safe for concurrent use once all
// is set.
//
//	var names certloader.Names[string]
//	names.Set("*.example.com", "the shop")
//	shop, ok := names.Find("Pears.example.com")
type Names[V any] struct {
	exact    map[string]V
	wildcard map[string]V // by what follows the asterisk
}

// Set says what there is for a name, in place of what there was: for a DNS name,
// or for "*." before one, which stands for each name with exactly one label in
// place of the asterisk, as in certificates (RFC 9525, 6.3).
func (n *Names[V]) Set(name string, v V) {
	names, name := n.place(name)
	if *names == nil {
		*names = make(map[string]V)
	}
	(*names)[name] = v
}

// Get returns what was set for a name or wildcard as it is written here.
func (n *Names[V]) Get(name string) (V, bool) {
	names, name := n.place(name)
	v, ok := (*names)[name]
	return v, ok
}

// place is where a name or wildcard is, and what it is called there.
func (n *Names[V]) place(name string) (*map[string]V, string) {
	name = strings.ToLower(name)
	if rest, ok := strings.CutPrefix(name, "*"); ok {
		return &n.wildcard, rest
	}
	return &n.exact, name
}

// Exact returns what there is for the very name, in whatever case it is written.
func (n *Names[V]) Exact(serverName string) (V, bool) {
	v, ok := n.exact[strings.ToLower(serverName)]
	return v, ok
}

// Wildcard returns what there is for a name by a wildcard alone.
func (n *Names[V]) Wildcard(serverName string) (v V, ok bool) {
	if dot := strings.IndexByte(serverName, '.'); dot > 0 {
		v, ok = n.wildcard[strings.ToLower(serverName[dot:])]
	}
	return v, ok
}

// Find returns what there is for a name.
func (n *Names[V]) Find(serverName string) (V, bool) {
	if v, ok := n.Exact(serverName); ok {
		return v, true
	}
	return n.Wildcard(serverName)
}
