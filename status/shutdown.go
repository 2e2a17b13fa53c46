package status

import (
	"net/http"
	"sync"
)

// shutdown answers POST /_shutdown: it begins the end at the first request, and
// tells all others that it has begun. A web page that a browser of this machine
// shows must not be able to end the process, so requests which a browser marks
// as coming from elsewhere are refused.
func shutdown(begin func()) http.Handler {
	once := sync.OnceFunc(begin)
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "shutting down")
		once()
	}))
}
