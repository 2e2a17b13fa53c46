package status

import (
	"net/http"
	"slices"
	"strings"

	"sallyport/internal/peertext"
)

// asked are the tunnels that a request is about: all, or the one that it names. If
// there is none of that name, it answers with those that there are, unless whoever
// asks may be somebody without the token.
func (p *port) asked(w http.ResponseWriter, r *http.Request) (_ []Tunnel, ok bool) {
	tunnels, name := p.tunnels(), r.URL.Query().Get("tunnel")
	if name == "" {
		return tunnels, true
	}
	i := slices.IndexFunc(tunnels, func(t Tunnel) bool { return t.Name == name })
	if i < 0 && p.anonymous && isOpen(r.URL.Path) {
		writeText(w, http.StatusNotFound, "there is no such tunnel")
		return nil, false
	}
	if i < 0 {
		names := make([]string, len(tunnels))
		for i, t := range tunnels {
			names[i] = t.Name
		}
		writeText(w, http.StatusNotFound, "there is no tunnel "+peertext.Printable(name)+", but "+strings.Join(names, ", "))
		return nil, false
	}
	return tunnels[i : i+1], true
}
