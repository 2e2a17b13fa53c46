package status

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// report is the answer to /_status. last_reload, the latest attempt, is always
// there, and in the year 1 before the first, which is what readers of
// Ghostunnel's know; last_reload_success is the time of the latest attempt that
// succeeded, and last_reload_error is there while the latest one failed.
type report struct {
	health
	Time       time.Time `json:"time"`
	LastReload time.Time `json:"last_reload"`
	Hostname   string    `json:"hostname,omitempty"`
	build
	Started           time.Time `json:"started"`
	LastReloadSuccess time.Time `json:"last_reload_success,omitzero"`
	LastReloadError   string    `json:"last_reload_error,omitempty"`
	Draining          *draining `json:"draining,omitempty"`
	Tunnels           []entry   `json:"tunnels"`
}

// entry is one of the report's tunnels.
type entry struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // why it does not run
	health
	removed bool
}

// health is what /_status says about one tunnel and about all of them alike.
type health struct {
	OK             bool          `json:"ok"`
	Status         string        `json:"status"`
	Message        string        `json:"message"`
	Mode           string        `json:"mode,omitempty"`
	ListenAddress  string        `json:"listen_address,omitempty"`
	ForwardAddress string        `json:"forward_address,omitempty"`
	BackendOK      bool          `json:"backend_ok"`
	BackendStatus  string        `json:"backend_status"`
	BackendError   string        `json:"backend_error,omitempty"`
	Routes         []route       `json:"routes,omitempty"`
	Targets        []target      `json:"targets,omitempty"`
	Connections    *connections  `json:"connections,omitempty"`
	Certificates   []Certificate `json:"certificates,omitempty"`
}

// route is one of several routes of a tunnel.
type route struct {
	Name           string      `json:"name"`
	ServerNames    []string    `json:"server_names,omitempty"`
	ForwardAddress string      `json:"forward_address"`
	Connections    connections `json:"connections"`
}

// target is one of several targets of a tunnel.
type target struct {
	Route         string      `json:"route,omitempty"`
	Target        string      `json:"target"`
	Weight        int         `json:"weight"`
	BackendOK     bool        `json:"backend_ok"`
	BackendStatus string      `json:"backend_status"`
	BackendError  string      `json:"backend_error,omitempty"`
	Ejected       bool        `json:"ejected"`
	Connections   connections `json:"connections"`
}

type connections struct {
	Open  int64 `json:"open"`
	Total int64 `json:"total"`
}

type draining struct {
	Open     int64     `json:"open"`
	Deadline time.Time `json:"deadline,omitzero"`
}

// status answers /_status.
func (p *port) status(w http.ResponseWriter, r *http.Request) {
	tunnels, ok := p.asked(w, r)
	if !ok {
		return
	}
	report := p.report(tunnels, askBackends(w, r, tunnels))
	code := http.StatusOK
	if !report.OK {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, report)
}

// report puts together what is known now of tunnels; backends has the outcome of
// the check of each.
func (p *port) report(tunnels []Tunnel, backends []error) report {
	now, moment := time.Now(), p.state.read()

	entries := make([]entry, len(tunnels))
	for i, tunnel := range tunnels {
		entries[i] = entry{Name: tunnel.Name, health: tunnel.health(now, moment, backends[i]), removed: tunnel.Removed}
		if tunnel.Fault != nil {
			entries[i].Error = tunnel.Fault.Error()
		}
	}
	whole := sum(moment, entries)
	r := report{
		health:            whole,
		Time:              now,
		LastReload:        moment.lastReload,
		Hostname:          p.hostname,
		build:             p.build,
		Started:           moment.started,
		LastReloadSuccess: moment.lastSuccess,
		LastReloadError:   moment.lastError,
		Tunnels:           entries,
	}
	if moment.message == stopping {
		r.Draining = &draining{Deadline: moment.deadline}
		if whole.Connections != nil {
			r.Draining.Open = whole.Connections.Open
		}
	}
	return r
}

// message is that of the tunnel: what the process does, unless the tunnel is at
// something else.
func (t Tunnel) message(moment moment) string {
	switch {
	case moment.message == stopping:
	case t.Draining:
		return stopping
	case t.Fault != nil:
		return initializing
	}
	return moment.message
}

// accepts tells whether the tunnel accepts connections.
func (t Tunnel) accepts(moment moment) bool {
	return moment.accepting() && !t.Draining && t.Fault == nil
}

// health says how the tunnel is, given the outcome of its check.
func (t Tunnel) health(now time.Time, moment moment, backend error) health {
	h := health{
		OK:             t.accepts(moment) && backend == nil,
		Message:        t.message(moment),
		Mode:           t.Mode,
		ListenAddress:  t.Listen,
		ForwardAddress: t.Forward,
		BackendOK:      backend == nil,
	}
	if backend != nil {
		h.BackendError = backend.Error()
	}
	if t.Routes != nil {
		for _, r := range t.Routes() {
			h.Routes = append(h.Routes, route{r.Name, r.ServerNames, r.Forward, connections{r.Open, r.Total}})
		}
	}
	if t.Targets != nil {
		for _, one := range t.Targets() {
			h.Targets = append(h.Targets, one.entry())
		}
	}
	if t.Connections != nil {
		open, total := t.Connections()
		h.Connections = &connections{open, total}
	}
	if t.Certificates != nil {
		h.Certificates = t.Certificates()
	}
	for _, c := range h.Certificates {
		if c.Role == "identity" && now.After(c.NotAfter) {
			h.OK = false
		}
	}
	return h.spelled()
}

// entry is the target in a report.
func (t Target) entry() target {
	e := target{
		Route:         t.Route,
		Target:        t.Name,
		Weight:        t.Weight,
		BackendOK:     t.Up,
		BackendStatus: word(t.Up),
		Ejected:       t.Ejected,
		Connections:   connections{int64(t.Open), t.Total},
	}
	if t.Fault != nil {
		e.BackendError = t.Fault.Error()
	}
	return e
}

// sum says how all tunnels are together. One tunnel is the whole, of several
// the whole has no address or certificate of its own. Those that were removed
// have connections, and count for nothing else.
func sum(moment moment, entries []entry) health {
	if len(entries) == 1 { // which may be a removed one that was asked for
		return entries[0].health
	}
	staying := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.removed })
	var whole health
	if len(staying) == 1 {
		whole = staying[0].health
	} else {
		whole = join(moment, staying)
	}
	whole.Connections = nil
	for _, e := range entries {
		if e.Connections == nil {
			continue
		}
		if whole.Connections == nil {
			whole.Connections = &connections{}
		}
		whole.Connections.Open += e.Connections.Open
		whole.Connections.Total += e.Connections.Total
	}
	return whole
}

// join is how several tunnels are together.
func join(moment moment, entries []entry) health {
	whole := health{OK: moment.accepting(), Message: moment.message, BackendOK: true}
	var faults []string
	for _, e := range entries {
		whole.OK = whole.OK && e.OK
		whole.BackendOK = whole.BackendOK && e.BackendOK
		if e.BackendError != "" {
			faults = append(faults, fmt.Sprintf("%s: %s", e.Name, e.BackendError))
		}
	}
	whole.BackendError = strings.Join(faults, "; ")
	return whole.spelled()
}

// spelled returns h with its verdicts in words too.
func (h health) spelled() health {
	h.Status, h.BackendStatus = word(h.OK), word(h.BackendOK)
	return h
}

// word is how a report spells a verdict.
func word(ok bool) string {
	if ok {
		return "ok"
	}
	return "critical"
}
