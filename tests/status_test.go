package tests

import (
	"net/http"
	"testing"
	"time"
)

// TestStatusTellsOfTheBackend asks both modes while the service at the end is
// there and when it has gone.
func TestStatusTellsOfTheBackend(t *testing.T) {
	t.Parallel()
	service := serve(t, "tcp", echo)
	tun := newTunnel(t, "tcp", service.address)

	type report struct {
		OK            bool   `json:"ok"`
		Message       string `json:"message"`
		BackendStatus string `json:"backend_status"`
		BackendError  string `json:"backend_error"`
	}
	for _, p := range []*process{tun.server, tun.client} {
		var got report
		code := p.status.getJSON(t, "/_status", &got)
		if want := (report{OK: true, Message: "listening", BackendStatus: "ok"}); code != http.StatusOK || got != want {
			t.Errorf("%s: %d %+v, want 200 %+v", p.name, code, got, want)
		}
	}

	service.close()
	gone := time.Now()
	eventually(t, "the server's status says that the backend is gone", func() bool {
		var got report
		code := tun.server.status.getJSON(t, "/_status", &got)
		return code == http.StatusServiceUnavailable && !got.OK && got.BackendStatus == "critical" && got.BackendError != ""
	})
	if since := time.Since(gone); since > 10*time.Second {
		t.Errorf("that took %v, though answers are shared for a second at most", since)
	}
	if code, _ := tun.server.status.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d, want 200: it is not about the backend", code)
	}
	if code, _ := tun.server.status.get(t, "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("/healthz: %d, want 503", code)
	}
	tun.stop(t)
}
