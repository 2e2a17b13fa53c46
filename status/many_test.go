package status

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// several is a status port with tunnels of all kinds.
func several(t *testing.T) (o Options, drained *atomic.Pointer[string]) {
	t.Helper()
	_, dial, _ := listen(t)
	state := NewState()
	state.Listening()
	counted := func(open int64) func() (int64, int64) { return func() (int64, int64) { return open, 10 * open } }
	drained = new(atomic.Pointer[string])
	return Options{State: state, Drain: func(name string) { drained.Store(&name) }, Tunnels: these(
		Tunnel{Name: "runs", Mode: "server", Check: dialing(t, dial), Connections: counted(1)},
		Tunnel{Name: "fails", Mode: "client", Fault: errors.New("--cert none.pem: no such file"), Connections: counted(0)},
		Tunnel{Name: "drains", Check: dialing(t, dial), Draining: true, Connections: counted(2)},
		Tunnel{Name: "removed", Check: dialing(t, dial), Draining: true, Removed: true, Connections: counted(4)},
	)}, drained
}

func TestEachTunnelAnswersForItself(t *testing.T) {
	t.Parallel()
	o, _ := several(t)
	url := served(t, o)
	for path, want := range map[string]struct {
		code int
		body string // part of it
	}{
		"/readyz":                           {200, "ok"},
		"/readyz?tunnel=runs":               {200, "ok"},
		"/readyz?tunnel=fails":              {503, "initializing"},
		"/readyz?tunnel=drains":             {503, "stopping"},
		"/readyz?tunnel=removed":            {503, "stopping"},
		"/readyz?tunnel=none":               {404, "there is no tunnel none, but runs, fails, drains, removed"},
		"/healthz":                          {503, "fails: --cert none.pem: no such file"},
		"/healthz?tunnel=runs":              {200, "ok"},
		"/healthz?tunnel=fails":             {503, "initializing"},
		"/_status?tunnel=none":              {404, "there is no tunnel none"},
		"/_status?tunnel=runs":              {200, `"tunnels":[{"name":"runs","ok":true,`},
		"/_status?tunnel=fails":             {503, `{"name":"fails","error":"--cert none.pem: no such file","ok":false,"status":"critical","message":"initializing"`},
		"/_status?tunnel=drains":            {503, `"message":"stopping"`},
		"/_connections?tunnel=none&limit=5": {404, "there is no tunnel none"},
		"/livez?tunnel=none":                {200, "ok"},
	} {
		response, body := ask(t, "GET", url+path)
		if response.StatusCode != want.code || !strings.Contains(body, want.body) {
			t.Errorf("%s: %d %s, want %d %s", path, response.StatusCode, body, want.code, want.body)
		}
	}
	code, got := askStatus(t, url)
	if code != 503 || got["ok"] != false || got["message"] != "listening" {
		t.Errorf("%d %v", code, got)
	}
	if open := got["connections"].(map[string]any)["open"]; open != 7.0 {
		t.Errorf("%v connections, want those of all", open)
	}
	if text, _ := got["backend_error"].(string); !strings.Contains(text, "fails: ") || strings.Contains(text, "removed") {
		t.Errorf("backend_error %q", text)
	}
}

func TestWhatWasRemovedCountsForNothingButItsConnections(t *testing.T) {
	t.Parallel()
	o, _ := several(t)
	all := o.Tunnels()
	o.Tunnels = these(all[0], all[3])
	url := served(t, o)
	code, got := askStatus(t, url)
	if code != 200 || got["ok"] != true || got["mode"] != "server" || got["connections"].(map[string]any)["open"] != 5.0 {
		t.Errorf("%d %v: want the one that stays for the whole", code, got)
	}
	if response, body := ask(t, "GET", url+"/healthz"); response.StatusCode != 200 {
		t.Errorf("/healthz: %d %s", response.StatusCode, body)
	}
	if _, report := askStatus(t, url); ofTunnels(report, "ok")[1] != false {
		t.Errorf("the one that was removed is ok: %v", report)
	}
}

func TestNothingIsReadyOnceTheProcessStops(t *testing.T) {
	t.Parallel()
	o, _ := several(t)
	o.State.Stopping(time.Time{})
	url := served(t, o)
	for _, path := range []string{"/readyz", "/readyz?tunnel=runs", "/healthz?tunnel=runs"} {
		if response, body := ask(t, "GET", url+path); response.StatusCode != 503 || body != "stopping\n" {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

func TestDrainIsAskedForByPost(t *testing.T) {
	t.Parallel()
	o, drained := several(t)
	url := served(t, o)
	for _, c := range []struct {
		method, path string
		header       []string
		code         int
	}{
		{"GET", "/_drain?tunnel=runs", nil, http.StatusMethodNotAllowed},
		{"POST", "/_drain", nil, http.StatusBadRequest},
		{"POST", "/_drain?tunnel=none", nil, http.StatusNotFound},
		{"POST", "/_drain?tunnel=runs", []string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{"POST", "/_drain?tunnel=runs", []string{"Sec-Fetch-Site", "same-origin"}, http.StatusForbidden},
	} {
		if response, body := ask(t, c.method, url+c.path, c.header...); response.StatusCode != c.code || drained.Load() != nil {
			t.Errorf("%s %s %q: %d %s, want %d and nothing else", c.method, c.path, c.header, response.StatusCode, body, c.code)
		}
	}
	if response, body := ask(t, "POST", url+"/_drain?tunnel=runs"); response.StatusCode != 200 || body != "draining runs\n" {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	if name := drained.Load(); name == nil || *name != "runs" {
		t.Errorf("drained %v", name)
	}
	o.Drain = nil
	if response, _ := ask(t, "POST", served(t, o)+"/_drain?tunnel=runs"); response.StatusCode != http.StatusNotFound {
		t.Errorf("where it is not enabled: %d", response.StatusCode)
	}
}

// Probes bring no token, and need no names of tunnels that they do not know.
func TestNamesOfTunnelsAreForThoseWithTheToken(t *testing.T) {
	t.Parallel()
	o, _ := several(t)
	o.Token, _ = newToken(t, theToken)
	o.Log = slog.New(slog.DiscardHandler)
	url := served(t, o)
	if response, body := ask(t, "GET", url+"/readyz?tunnel=none"); response.StatusCode != http.StatusNotFound || body != "there is no such tunnel\n" {
		t.Errorf("without it: %d %s", response.StatusCode, body)
	}
	if response, body := ask(t, "GET", url+"/_status?tunnel=none", "Authorization", "Bearer "+theToken); response.StatusCode != http.StatusNotFound || !strings.Contains(body, "but runs, fails") {
		t.Errorf("with it: %d %s", response.StatusCode, body)
	}
}
