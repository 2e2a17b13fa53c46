package sandbox

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Beyond names what other rules allow and these do not, as what the process would have to do for it: "to connect to port 80".
// A process that is in a sandbox for good can thus tell beforehand what it would fail at. Ports to listen on are left out, as
// they are not out of reach where the system has multipath TCP; where it has not, to listen fails.
func (r Rules) Beyond(other Rules) []string {
	var found []string
	beyond := func(what string) {
		if !slices.Contains(found, what) {
			found = append(found, what)
		}
	}
	paths := func(verb string, wanted []string, allowed ...[]string) {
		dirs := homesOfAll(slices.Concat(allowed...))
		for _, home := range homesOfAll(wanted) {
			if !slices.ContainsFunc(dirs, func(dir string) bool { return home == dir || strings.HasPrefix(home, dir+root) }) {
				beyond(verb + " " + home)
			}
		}
	}
	for _, port := range other.ConnectPorts {
		if !slices.Contains(r.ConnectPorts, port) {
			beyond("to connect to port " + strconv.Itoa(int(port)))
		}
	}
	paths("to read in", other.Files, r.Files, r.WriteDirs)
	paths("to write in", other.WriteDirs, r.WriteDirs)
	paths("to listen in", other.ListenSockets, r.ListenSockets)
	paths("to connect to sockets in", other.DialSockets, r.DialSockets, r.ListenSockets)
	for _, whole := range []struct {
		wanted, allowed bool
		what            string
	}{
		{other.Resolver, r.Resolver, "to look up names"},
		{other.SystemTrust, r.SystemTrust, "to read the CAs that the system trusts"},
		{other.Proxies, r.Proxies, "to connect to the proxies of the environment"},
		{other.SystemLog, r.SystemLog, "to connect to the system's log"},
		{other.Itself, r.Itself, "to read its own /proc"},
	} {
		if whole.wanted && !whole.allowed {
			beyond(whole.what)
		}
	}
	return found
}

// homesOfAll is homesOf for several paths, each of both looked at once: many tunnels may have their files in one place.
func homesOfAll(paths []string) []string {
	var all []string
	looked, found := make(map[string]bool), make(map[string]bool)
	for _, path := range paths {
		if looked[path] {
			continue
		}
		looked[path] = true
		for _, home := range homesOf(path) {
			if !found[home] {
				found[home] = true
				all = append(all, home)
			}
		}
	}
	return all
}

// homesOf is homes for what may be the name of an abstract socket, or nothing, of which there is none.
func homesOf(path string) []string {
	if path == "" || strings.HasPrefix(path, "@") {
		return nil
	}
	if found := homes(path); len(found) > 0 {
		return found
	}
	return []string{filepath.Dir(path)}
}
