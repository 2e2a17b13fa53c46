package status

import (
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
)

// handleProfiles adds the profiles of net/http/pprof to mux. They end with the
// request or when the server shuts down, and may take longer to write than
// other answers: pprof moves the deadline by as long as was asked for.
func handleProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", commandLine)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// commandLine answers with the name of the program and none of its arguments,
// because a password may be among them.
func commandLine(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(filepath.Base(os.Args[0])))
}
