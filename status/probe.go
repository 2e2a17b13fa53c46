package status

import "net/http"

// live answers /livez: a process that answers is alive. Whether it is of use is
// for the other probes to say, as restarting it would mend none of that.
func (p *port) live(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok")
}

// ready answers /readyz: 200 while connections are accepted, by any tunnel or the
// one that is asked for, backends aside.
func (p *port) ready(w http.ResponseWriter, r *http.Request) {
	if tunnels, ok := p.asked(w, r); ok && p.accepting(w, tunnels) {
		writeText(w, http.StatusOK, "ok")
	}
}

// healthy answers /healthz: 200 while connections are accepted and every
// backend is up.
func (p *port) healthy(w http.ResponseWriter, r *http.Request) {
	tunnels, ok := p.asked(w, r)
	if !ok || !p.accepting(w, tunnels) {
		return
	}
	if report := p.report(tunnels, askBackends(w, r, tunnels)); !report.BackendOK {
		writeText(w, http.StatusServiceUnavailable, report.BackendError)
		return
	}
	writeText(w, http.StatusOK, "ok")
}

// accepting reports whether any of the tunnels accepts connections, and answers if
// none does.
func (p *port) accepting(w http.ResponseWriter, tunnels []Tunnel) bool {
	now := p.state.read()
	message := now.message
	for _, t := range tunnels {
		if message = t.message(now); t.accepts(now) {
			return true
		}
	}
	writeText(w, http.StatusServiceUnavailable, message)
	return false
}
