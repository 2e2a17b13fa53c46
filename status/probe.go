package status

import "net/http"

// live answers /livez: a process that answers is alive. Whether it is of use is
// for the other probes to say, as restarting it would mend none of that.
func (p *port) live(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok")
}

// ready answers /readyz: 200 while connections are accepted, backends aside.
func (p *port) ready(w http.ResponseWriter, _ *http.Request) {
	if now := p.state.read(); !now.accepting() {
		writeText(w, http.StatusServiceUnavailable, now.message)
		return
	}
	writeText(w, http.StatusOK, "ok")
}

// healthy answers /healthz: 200 while connections are accepted and every
// backend is up.
func (p *port) healthy(w http.ResponseWriter, r *http.Request) {
	if now := p.state.read(); !now.accepting() {
		writeText(w, http.StatusServiceUnavailable, now.message)
		return
	}
	if report := p.report(p.askBackends(w, r)); !report.BackendOK {
		writeText(w, http.StatusServiceUnavailable, report.BackendError)
		return
	}
	writeText(w, http.StatusOK, "ok")
}
