package status

import "net/http"

// drain answers POST /_drain?tunnel=NAME: it begins to drain that tunnel, and the
// others go on.
func (p *port) drain(begin func(tunnel string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if refusedPage(w, r) {
			return
		}
		name := r.URL.Query().Get("tunnel")
		if name == "" {
			writeText(w, http.StatusBadRequest, "tunnel: missing; say which, as in /_drain?tunnel=NAME")
			return
		}
		if _, ok := p.asked(w, r); !ok {
			return
		}
		writeText(w, http.StatusOK, "draining "+name)
		begin(name)
	}
}
