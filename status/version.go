package status

import "net/http"

// build says what the process was built from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Compiler string `json:"compiler"`
}

// version answers /version.
func (p *port) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, p.build)
}
