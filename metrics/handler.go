package metrics

import "net/http"

// Handler returns the handler of /_metrics: JSON as [Metrics.JSON] gives it, or
// the answer of [Metrics.Prometheus] when the query says format=prometheus.
func (m *Metrics) Handler() http.Handler {
	asJSON, asPrometheus := m.JSON(), m.Prometheus()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "prometheus" {
			asPrometheus.ServeHTTP(w, r)
			return
		}
		asJSON.ServeHTTP(w, r)
	})
}

// readOnly lets GET and HEAD through to h and answers anything else with 405:
// metrics are looked at, never changed.
func readOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "metrics are read with GET", http.StatusMethodNotAllowed)
			return
		}
		h.ServeHTTP(w, r)
	})
}
