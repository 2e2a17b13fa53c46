package status

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// served starts an HTTP server of New(o) and returns its URL.
func served(t *testing.T, o Options) string {
	t.Helper()
	server := httptest.NewServer(New(o))
	t.Cleanup(server.Close)
	return server.URL
}

// ask sends a request and returns the response with its body.
func ask(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// askStatus returns the answer's code and its JSON object.
func askStatus(t *testing.T, url string) (int, map[string]any) {
	t.Helper()
	response, body := ask(t, "GET", url+"/_status")
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return response.StatusCode, object
}

func names(object map[string]any) []string {
	return slices.Sorted(maps.Keys(object))
}

// ofTunnels returns a field of each of the report's tunnels.
func ofTunnels(report map[string]any, field string) []any {
	var values []any
	tunnels, _ := report["tunnels"].([]any)
	for _, tunnel := range tunnels {
		object, _ := tunnel.(map[string]any)
		values = append(values, object[field])
	}
	return values
}

func TestStatusOfOneTunnelHasGhostunnelsFields(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	state := NewState()
	state.Listening()
	notAfter := time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)
	url := served(t, Options{
		State:    state,
		Version:  "1.2.3",
		Revision: "abcdef",
		Tunnels: these(Tunnel{
			Name: "server", Mode: "server", Listen: "localhost:8443", Forward: "unix:/run/app.sock",
			Check:       dialing(t, dial),
			Connections: func() (int64, int64) { return 2, 30 },
			Certificates: func() []Certificate {
				return []Certificate{{Role: "identity", Subject: "CN=server", Serial: "1f", NotAfter: notAfter}}
			},
		}),
	})
	code, got := askStatus(t, url)
	if code != 200 {
		t.Errorf("code %d", code)
	}

	for _, name := range []string{"time", "started", "last_reload_success"} {
		text, _ := got[name].(string)
		if at, err := time.Parse(time.RFC3339Nano, text); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: %v", name, got[name])
		}
		delete(got, name)
	}
	hostname, _ := os.Hostname()
	health := map[string]any{
		"ok": true, "status": "ok", "message": "listening",
		"mode": "server", "listen_address": "localhost:8443", "forward_address": "unix:/run/app.sock",
		"backend_ok": true, "backend_status": "ok",
		"connections": map[string]any{"open": 2.0, "total": 30.0},
		"certificates": []any{map[string]any{
			"role": "identity", "subject": "CN=server", "serial": "1f", "not_after": "2099-01-02T03:04:05Z",
		}},
	}
	tunnel := maps.Clone(health)
	tunnel["name"] = "server"
	want := maps.Clone(health)
	maps.Copy(want, map[string]any{
		"last_reload": "0001-01-01T00:00:00Z", "hostname": hostname,
		"version": "1.2.3", "revision": "abcdef", "compiler": runtime.Version(),
		"tunnels": []any{tunnel},
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStatusInEachTimeOfLife(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	state := NewState()
	url := served(t, Options{State: state, Tunnels: these(Tunnel{Name: "client", Check: dialing(t, dial)})})
	check := func(wantCode int, message string, more ...string) map[string]any {
		t.Helper()
		code, got := askStatus(t, url)
		ok, status := true, "ok"
		if wantCode != 200 {
			ok, status = false, "critical"
		}
		if code != wantCode || got["ok"] != ok || got["status"] != status || got["message"] != message {
			t.Errorf("%d %v %v %v, want %d %v %v %v", code, got["ok"], got["status"], got["message"], wantCode, ok, status, message)
		}
		if got["backend_ok"] != true || got["backend_status"] != "ok" {
			t.Errorf("%s: backend %v %v although it is up", message, got["backend_ok"], got["backend_status"])
		}
		usual := []string{"ok", "status", "message", "backend_ok", "backend_status", "time", "last_reload", "hostname",
			"version", "revision", "compiler", "started", "tunnels"}
		want := slices.Sorted(slices.Values(append(usual, more...)))
		if diff := cmp.Diff(want, names(got)); diff != "" {
			t.Errorf("%s: fields -want +got:\n%s", message, diff)
		}
		return got
	}

	check(503, "initializing")
	state.Listening()
	check(200, "listening", "last_reload_success")
	state.Reloading()
	if got := check(200, "reloading", "last_reload_success"); got["last_reload"] == "0001-01-01T00:00:00Z" {
		t.Errorf("last_reload %v while reloading", got["last_reload"])
	}
	state.Reloaded(errors.New("--cacert ca.pem: no certificate in it"))
	if got := check(200, "listening", "last_reload_error", "last_reload_success"); got["last_reload_error"] != "--cacert ca.pem: no certificate in it" {
		t.Errorf("last_reload_error %v", got["last_reload_error"])
	}
	state.Reloading()
	state.Reloaded(nil)
	check(200, "listening", "last_reload_success")
	deadline := time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)
	state.Stopping(deadline)
	got := check(503, "stopping", "last_reload_success", "draining")
	if diff := cmp.Diff(map[string]any{"open": 0.0, "deadline": "2099-01-02T03:04:05Z"}, got["draining"]); diff != "" {
		t.Errorf("draining -want +got:\n%s", diff)
	}
}

func TestStatusIsCriticalWhenTheBackendIsDown(t *testing.T) {
	t.Parallel()
	ln, dial, _ := listen(t)
	_ = ln.Close()
	state := NewState()
	state.Listening()
	url := served(t, Options{State: state, Tunnels: these(Tunnel{Name: "server", Check: dialing(t, dial)})})

	code, got := askStatus(t, url)
	if code != 503 || got["ok"] != false || got["status"] != "critical" || got["backend_ok"] != false || got["backend_status"] != "critical" {
		t.Errorf("%d %v", code, got)
	}
	if text, _ := got["backend_error"].(string); !strings.Contains(text, "refused") {
		t.Errorf("backend_error %q", text)
	}
	if got["message"] != "listening" {
		t.Errorf("message %v: a backend does not change the life of the process", got["message"])
	}
}

func TestStatusSharesTheBackendCheck(t *testing.T) {
	t.Parallel()
	_, dial, seen := listen(t)
	state := NewState()
	state.Listening()
	start := time.Now()
	url := served(t, Options{State: state, Tunnels: these(Tunnel{Name: "server", Check: dialing(t, dial)})})
	const requests = 20
	for range requests {
		if code, _ := askStatus(t, url); code != 200 {
			t.Errorf("code %d", code)
		}
		if response, _ := ask(t, "GET", url+"/healthz"); response.StatusCode != 200 {
			t.Errorf("/healthz %d", response.StatusCode)
		}
	}
	if got, most := seen.Load(), int64(time.Since(start)/time.Second)+1; got < 1 || got > most {
		t.Errorf("the backend saw %d connections for %d requests, want 1 to %d", got, 2*requests, most)
	}
}

func TestStatusIsCriticalWhenTheIdentityHasExpired(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	for _, c := range []struct {
		what         string
		certificates []Certificate
		code         int
	}{
		{"none", nil, 200},
		{"all valid", []Certificate{{Role: "identity", NotAfter: future}, {Role: "ca", NotAfter: future}}, 200},
		{"one of the trusted has expired", []Certificate{{Role: "identity", NotAfter: future}, {Role: "ca", NotAfter: past}}, 200},
		{"the identity has expired", []Certificate{{Role: "identity", NotAfter: past}, {Role: "ca", NotAfter: future}}, 503},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			state := NewState()
			state.Listening()
			url := served(t, Options{State: state, Tunnels: these(Tunnel{
				Check: dialing(t, dial), Certificates: func() []Certificate { return c.certificates },
			})})
			code, got := askStatus(t, url)
			if code != c.code || got["ok"] != (c.code == 200) || got["backend_ok"] != true {
				t.Errorf("%d, ok %v, backend_ok %v; want %d and a backend that is up", code, got["ok"], got["backend_ok"], c.code)
			}
		})
	}
}

func TestStatusOfSeveralTargets(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	state := NewState()
	state.Listening()
	_, got := askStatus(t, served(t, Options{State: state, Tunnels: these(Tunnel{
		Name: "web", Forward: "a:1, b:1", Check: dialing(t, dial),
		Targets: func() []Target {
			return []Target{
				{Name: "a:1", Weight: 2, Up: true, Open: 3, Total: 5},
				{Route: "shop", Name: "b:1", Weight: 1, Ejected: true, Fault: errors.New("it is away")},
			}
		},
	})}))
	want := []any{
		map[string]any{
			"target": "a:1", "weight": 2.0, "backend_ok": true, "backend_status": "ok", "ejected": false,
			"connections": map[string]any{"open": 3.0, "total": 5.0},
		},
		map[string]any{
			"route": "shop", "target": "b:1", "weight": 1.0, "backend_ok": false, "backend_status": "critical", "backend_error": "it is away",
			"ejected": true, "connections": map[string]any{"open": 0.0, "total": 0.0},
		},
	}
	if diff := cmp.Diff(want, got["targets"]); diff != "" {
		t.Errorf("targets -want +got:\n%s", diff)
	}
	if got["ok"] != true || got["backend_ok"] != true {
		t.Errorf("ok %v, backend_ok %v: one that is down is not all of them", got["ok"], got["backend_ok"])
	}
}

func TestStatusOfRoutes(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	state := NewState()
	state.Listening()
	_, got := askStatus(t, served(t, Options{State: state, Tunnels: these(Tunnel{
		Name: "web", Check: dialing(t, dial),
		Routes: func() []Route {
			return []Route{
				{Name: "shop", ServerNames: []string{"shop.test", "*.shop.test"}, Forward: "a:1", Open: 1, Total: 2},
				{Name: "default", Forward: "b:1"},
			}
		},
	})}))
	want := []any{
		map[string]any{
			"name": "shop", "server_names": []any{"shop.test", "*.shop.test"}, "forward_address": "a:1", "connections": map[string]any{"open": 1.0, "total": 2.0},
		},
		map[string]any{"name": "default", "forward_address": "b:1", "connections": map[string]any{"open": 0.0, "total": 0.0}},
	}
	if diff := cmp.Diff(want, got["routes"]); diff != "" {
		t.Errorf("routes -want +got:\n%s", diff)
	}
}

func TestStatusOfManyTunnels(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	gone, dialGone, _ := listen(t)
	_ = gone.Close()
	state := NewState()
	state.Listening()
	up := Tunnel{
		Name: "web", Mode: "server", Listen: ":8443", Forward: "localhost:80", Check: dialing(t, dial),
		Connections: func() (int64, int64) { return 1, 10 },
	}
	alsoUp := Tunnel{
		Name: "mail", Mode: "client", Listen: "localhost:25", Forward: "mx.example:465", Check: dialing(t, dial),
		Connections: func() (int64, int64) { return 2, 20 },
	}
	down := Tunnel{Name: "db", Mode: "client", Check: dialing(t, dialGone)}

	code, got := askStatus(t, served(t, Options{State: state, Tunnels: these(up, alsoUp)}))
	if code != 200 || got["ok"] != true || got["backend_status"] != "ok" {
		t.Errorf("all up: %d %v", code, got)
	}
	if diff := cmp.Diff(map[string]any{"open": 3.0, "total": 30.0}, got["connections"]); diff != "" {
		t.Errorf("connections -want +got:\n%s", diff)
	}
	for _, name := range []string{"mode", "listen_address", "forward_address", "certificates"} {
		if _, there := got[name]; there {
			t.Errorf("the whole has %s, which is each tunnel's own", name)
		}
	}
	if addresses := ofTunnels(got, "listen_address"); !slices.Equal(addresses, []any{":8443", "localhost:25"}) {
		t.Errorf("addresses of the tunnels: %v", addresses)
	}

	code, got = askStatus(t, served(t, Options{State: state, Tunnels: these(up, down)}))
	if text, _ := got["backend_error"].(string); code != 503 || got["ok"] != false || !strings.HasPrefix(text, "db: ") {
		t.Errorf("one down: %d, backend_error %q", code, text)
	}
	if oks := ofTunnels(got, "ok"); !slices.Equal(oks, []any{true, false}) {
		t.Errorf("one down: ok is %v of the tunnels", oks)
	}

	state.Stopping(time.Time{})
	_, got = askStatus(t, served(t, Options{State: state, Tunnels: these(up, alsoUp)}))
	if diff := cmp.Diff(map[string]any{"open": 3.0}, got["draining"]); diff != "" {
		t.Errorf("draining -want +got:\n%s", diff)
	}
}
