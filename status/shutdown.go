package status

import (
	"net/http"
	"sync"
)

// shutdown answers POST /_shutdown: it begins the end at the first request, and
// tells all others that it has begun.
func shutdown(begin func()) http.HandlerFunc {
	once := sync.OnceFunc(begin)
	return func(w http.ResponseWriter, r *http.Request) {
		if refusedPage(w, r) {
			return
		}
		writeText(w, http.StatusOK, "shutting down")
		once()
	}
}

// refusedPage refuses a request of a web page that a browser shows: it must not be
// able to end anything. No page here asks for that, so whatever a browser marks as
// coming from a page is refused, even from one that seems to be of this port.
func refusedPage(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false
	}
	writeText(w, http.StatusForbidden, "not for web pages")
	return true
}
