// Package status tells the world outside how a process is doing: a listener of
// its own answers probes, dashboards and people, apart from the traffic.
//
// A [State] follows the life of the process, a [Check] knows whether a backend
// is up, [New] makes a handler out of them, and a [Server] serves it within
// limits that no client can stretch:
//
//	state := status.NewState()
//	check := status.NewCheck(dialOnce, 10*time.Second)
//	defer check.Close()
//	server := status.NewServer(status.New(status.Options{
//		State:   state,
//		Tunnels: func() []status.Tunnel { return tunnels }, // with a Check each
//	}), log)
//	go server.Serve(ln)
//	state.Listening()
//
// What the paths say at each time of life:
//
//	message       /livez  /readyz  /healthz             /_status
//	initializing  200     503      503                  503
//	listening     200     200      200 if backends up   200 if ok
//	reloading     200     200      200 if backends up   200 if ok
//	stopping      200     503      503                  503
//
// A tunnel is ok when it accepts connections (listening or reloading), its
// backend is up and the identity it presents has not expired; the process is ok
// when every tunnel is. The process is ready when any tunnel accepts connections.
// With ?tunnel=NAME all of these but /livez answer for one tunnel alone. A
// draining process is not ok although all is well with it: who asks, a load
// balancer most often, should send its traffic elsewhere.
//
// Who may ask is decided by a [Token], where there is one, and before that by the
// listener: TLS, and the client certificates it may want, are its matter.
//
// The package opens no listener, speaks no TLS (wrap the listener), and dials no
// target but through the functions it is given.
package status

import (
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"
)

// Options is what a status port has to tell.
type Options struct {
	// State is the life of the process. Required.
	State *State

	// Tunnels returns all tunnels that the process has now, each name once. It
	// is called for every answer, by several goroutines at once. If there is
	// exactly one that counts, its mode, addresses and certificates are those of
	// the whole in /_status, beside "tunnels", where every tunnel has an entry.
	// Required.
	Tunnels func() []Tunnel

	// Version and Revision name the build: "1.2.3", and the commit it is from.
	Version, Revision string

	// Metrics answers /_metrics, MetricsJSON /_metrics/json, and
	// MetricsPrometheus /_metrics/prometheus and /metrics. Where one is nil,
	// its paths do not exist.
	Metrics, MetricsJSON, MetricsPrometheus http.Handler

	// EnablePprof adds /debug/pprof/.
	EnablePprof bool

	// Shutdown begins a graceful end and does not wait for it. It is called
	// once, by the first POST to /_shutdown. If it is nil, there is no such path.
	Shutdown func()

	// Drain begins to drain the tunnel with this name, and does not wait for
	// it. A POST to /_drain?tunnel=NAME calls it, again and again if there are
	// several. If it is nil, there is no such path.
	Drain func(tunnel string)

	// Token is what everything but /, /livez and /readyz asks for, as
	// "Authorization: Bearer TOKEN"; without it the answer is 401. If it is nil,
	// everybody is answered.
	Token *Token

	// Log is told of wrong tokens. Required with Token.
	Log *slog.Logger
}

// Tunnel is what a status port tells about one tunnel.
type Tunnel struct {
	Name    string // unique in the process
	Mode    string // "server" or "client"
	Listen  string // address that accepts connections
	Forward string // address that they are forwarded to; of several, all

	// Routes are what clients are told apart by. It is nil where they all go one
	// way.
	Routes func() []Route

	// Targets are those that connections are spread over. It is nil where there
	// is one, of which Check tells all.
	Targets func() []Target

	// Fault is why the tunnel does not run, although it should; nil: it does.
	Fault error

	// Draining tells that the tunnel accepts no more connections, or is about
	// to stop that. Removed does that it is no more among those that the
	// process should have: it has an entry of its own while its connections
	// last, but does not count for the whole.
	Draining, Removed bool

	// Check finds out whether the backend is up. Required, unless there is a
	// Fault.
	Check *Check

	// Certificates lists the certificates in use now. It may be nil. What has
	// the role "identity" must not have expired for the tunnel to be ok.
	Certificates func() []Certificate

	// Connections counts the connections that are open now, and all that came
	// in so far. It may be nil.
	Connections func() (open, total int64)

	// OpenConnections lists those that are open now, by ID. It may be nil.
	OpenConnections func() []Connection
}

// Target is one of several targets of a tunnel, as it is now.
type Target struct {
	Route   string // whose it is; "": the tunnel's, which has no routes
	Name    string
	Weight  int
	Up      bool
	Fault   error // why it is not up; nil if it is
	Ejected bool  // it gets no connections for a moment, because one failed
	Open    int   // connections in hand
	Total   int64 // connections that were made
}

// Route is a way on which some of a tunnel's connections go.
type Route struct {
	Name        string
	ServerNames []string // that clients ask for; none: all that no other route has
	Forward     string   // address that they are forwarded to
	Open, Total int64    // connections that are forwarded now, and that were so far
}

// Certificate describes a certificate in use.
type Certificate struct {
	Role     string    `json:"role"` // "identity", "intermediate" or "ca"; with "proxy_" before it, if it is there for a proxy
	Subject  string    `json:"subject"`
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	Route    string    `json:"route,omitempty"` // of the tunnel, that it belongs to; "": to all of the tunnel
}

// New returns the handler of a status port.
//
// Every answer forbids caches to keep it and browsers to guess its type. A path
// that does not exist answers 404, a method that a path does not have 405 with
// the ones it has in Allow.
func New(o Options) http.Handler {
	// A host without a name is reported without one.
	hostname, _ := os.Hostname()
	p := &port{
		state:   o.State,
		tunnels: o.Tunnels,
		build: build{
			Version:  o.Version,
			Revision: o.Revision,
			Compiler: runtime.Version(),
		},
		hostname:  hostname,
		anonymous: o.Token != nil,
	}

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", home())
	mux.HandleFunc("GET /_status", p.status)
	mux.HandleFunc("GET /_connections", p.connections)
	mux.HandleFunc("GET /livez", p.live)
	mux.HandleFunc("GET /readyz", p.ready)
	mux.HandleFunc("GET /healthz", p.healthy)
	mux.HandleFunc("GET /version", p.version)
	for path, h := range map[string]http.Handler{
		"/_metrics":            o.Metrics,
		"/_metrics/json":       o.MetricsJSON,
		"/_metrics/prometheus": o.MetricsPrometheus,
		"/metrics":             o.MetricsPrometheus,
	} {
		if h != nil {
			mux.Handle(path, h)
		}
	}
	if o.Shutdown != nil {
		mux.Handle("POST /_shutdown", shutdown(o.Shutdown))
	}
	if o.Drain != nil {
		mux.HandleFunc("POST /_drain", p.drain(o.Drain))
	}
	if o.EnablePprof {
		handleProfiles(mux)
	}
	var h http.Handler = mux
	if o.Token != nil {
		h = o.Token.required(h, o.Log)
	}
	return guarded(browsed(h, hostname, o.Token == nil))
}

// port is what the handlers of one status port share.
type port struct {
	state     *State
	tunnels   func() []Tunnel
	build     build
	hostname  string
	anonymous bool       // there is a token, and what isOpen is for those who do not have it
	listing   sync.Mutex // held while connections are listed
}

// guarded puts on every answer of h the headers that all of them have.
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength != 0 {
			// Next to nothing here reads a body. Without this, net/http holds
			// the answer back until the body is complete, or never comes.
			w.Header().Set("Connection", "close")
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		}
		h.ServeHTTP(w, r)
	})
}
