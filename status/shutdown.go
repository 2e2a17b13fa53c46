package status

import (
	"net/http"
	"sync"
)

// shutdown answers POST /_shutdown: it begins the end at the first request, and
// tells all others that it has begun. A web page that a browser shows must not be
// able to end the process. No page here asks for that, so whatever a browser marks
// as coming from a page is refused, even from one that seems to be of this port.
func shutdown(begin func()) http.HandlerFunc {
	once := sync.OnceFunc(begin)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			writeText(w, http.StatusForbidden, "not for web pages")
			return
		}
		writeText(w, http.StatusOK, "shutting down")
		once()
	}
}
