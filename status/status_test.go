package status

import (
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// said returns a handler that answers with one word.
func said(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, word)
	})
}

// these are tunnels that stay the same.
func these(tunnels ...Tunnel) func() []Tunnel { return func() []Tunnel { return tunnels } }

// everything is a status port with all that can be switched on.
func everything(t *testing.T) (o Options, shutdowns *atomic.Int64) {
	t.Helper()
	_, dial, _ := listen(t)
	state := NewState()
	state.Listening()
	shutdowns = new(atomic.Int64)
	return Options{
		State:             state,
		Tunnels:           these(Tunnel{Name: "server", Check: dialing(t, dial)}),
		Version:           "1.2.3",
		Revision:          "abcdef",
		Metrics:           said("any"),
		MetricsJSON:       said("json"),
		MetricsPrometheus: said("prometheus"),
		EnablePprof:       true,
		Shutdown:          func() { shutdowns.Add(1) },
	}, shutdowns
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	o, _ := everything(t)
	url := served(t, o)
	for _, c := range []struct {
		method, path string
		code         int
		contentType  string
		body         string // start of it
		allow        string
	}{
		{"GET", "/_status", 200, "application/json", `{"ok":true,"status":"ok"`, ""},
		{"HEAD", "/_status", 200, "application/json", "", ""},
		{"POST", "/_status", 405, "text/plain; charset=utf-8", "Method Not Allowed", "GET, HEAD"},
		{"GET", "/_metrics", 200, "text/plain", "any", ""},
		{"GET", "/_metrics/json", 200, "text/plain", "json", ""},
		{"GET", "/_metrics/prometheus", 200, "text/plain", "prometheus", ""},
		{"GET", "/metrics", 200, "text/plain", "prometheus", ""},
		{"GET", "/livez", 200, "text/plain; charset=utf-8", "ok\n", ""},
		{"GET", "/readyz", 200, "text/plain; charset=utf-8", "ok\n", ""},
		{"GET", "/healthz", 200, "text/plain; charset=utf-8", "ok\n", ""},
		{"DELETE", "/livez", 405, "text/plain; charset=utf-8", "Method Not Allowed", "GET, HEAD"},
		{"GET", "/version", 200, "application/json", `{"version":"1.2.3","revision":"abcdef","compiler":"` + runtime.Version() + `"}`, ""},
		{"POST", "/_shutdown", 200, "text/plain; charset=utf-8", "shutting down\n", ""},
		{"GET", "/_shutdown", 405, "text/plain; charset=utf-8", "Method Not Allowed", "POST"},
		{"HEAD", "/_shutdown", 405, "text/plain; charset=utf-8", "", "POST"},
		{"PUT", "/_shutdown", 405, "text/plain; charset=utf-8", "Method Not Allowed", "POST"},
		{"GET", "/debug/pprof/", 200, "text/html; charset=utf-8", "<html>", ""},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "text/plain; charset=utf-8", "goroutine profile:", ""},
		{"GET", "/debug/pprof/heap", 200, "application/octet-stream", "\x1f\x8b", ""},
		{"GET", "/debug/pprof/symbol", 200, "text/plain; charset=utf-8", "num_symbols: 1", ""},
		{"POST", "/debug/pprof/symbol", 200, "text/plain; charset=utf-8", "num_symbols: 1", ""},
		{"GET", "/debug/pprof/nothing", 404, "text/plain; charset=utf-8", "Unknown profile", ""},
		{"POST", "/debug/pprof/", 405, "text/plain; charset=utf-8", "Method Not Allowed", "GET, HEAD"},
		{"GET", "/", 200, "text/html; charset=utf-8", "<!DOCTYPE html>", ""},
		{"POST", "/", 405, "text/plain; charset=utf-8", "Method Not Allowed", "GET, HEAD"},
		{"GET", "/nothing", 404, "text/plain; charset=utf-8", "404 page not found\n", ""},
		{"GET", "/_status/more", 404, "text/plain; charset=utf-8", "404 page not found\n", ""},
		{"GET", "/_shutdown/", 404, "text/plain; charset=utf-8", "404 page not found\n", ""},
		{"POST", "/..%2f_shutdown", 404, "text/plain; charset=utf-8", "404 page not found\n", ""},
		{"GET", "/<script>", 404, "text/plain; charset=utf-8", "404 page not found\n", ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			response, body := ask(t, c.method, url+c.path)
			if response.StatusCode != c.code || !strings.HasPrefix(body, c.body) {
				t.Errorf("%d %.80q, want %d %q", response.StatusCode, body, c.code, c.body)
			}
			for name, want := range map[string]string{
				"Content-Type":           c.contentType,
				"Allow":                  c.allow,
				"Cache-Control":          "no-store",
				"X-Content-Type-Options": "nosniff",
				"Server":                 "",
			} {
				if got := response.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestWhatIsNotEnabledDoesNotExist(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	url := served(t, Options{State: NewState(), Tunnels: these(Tunnel{Check: dialing(t, dial)})})
	for _, path := range []string{
		"/_shutdown", "/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/cmdline", "/debug/vars",
		"/_metrics", "/_metrics/json", "/_metrics/prometheus", "/metrics",
	} {
		for _, method := range []string{"GET", "POST"} {
			if response, body := ask(t, method, url+path); response.StatusCode != 404 || body != "404 page not found\n" {
				t.Errorf("%s %s: %d %q", method, path, response.StatusCode, body)
			}
		}
	}
}

func TestProbesInEachTimeOfLife(t *testing.T) {
	t.Parallel()
	_, dial, _ := listen(t)
	gone, dialGone, _ := listen(t)
	_ = gone.Close()
	state := NewState()
	withBackend := served(t, Options{State: state, Tunnels: these(Tunnel{Name: "a", Check: dialing(t, dial)})})
	without := served(t, Options{State: state, Tunnels: these(Tunnel{Name: "a", Check: dialing(t, dialGone)})})
	check := func(url, path string, code int, text string) {
		t.Helper()
		if response, body := ask(t, "GET", url+path); response.StatusCode != code || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d %q", path, response.StatusCode, body, code, text)
		}
	}
	for _, step := range []struct {
		event     func()
		accepting bool
		message   string
	}{
		{func() {}, false, "initializing"},
		{state.Listening, true, ""},
		{state.Reloading, true, ""},
		{func() { state.Stopping(time.Now()) }, false, "stopping"},
	} {
		step.event()
		for _, url := range []string{withBackend, without} {
			check(url, "/livez", 200, "ok")
			if step.accepting {
				check(url, "/readyz", 200, "ok")
			} else {
				check(url, "/readyz", 503, step.message)
				check(url, "/healthz", 503, step.message)
			}
		}
		if step.accepting {
			check(withBackend, "/healthz", 200, "ok")
			check(without, "/healthz", 503, "refused")
		}
	}
}

func TestLiveAndReadyDialNothing(t *testing.T) {
	t.Parallel()
	o, _ := everything(t)
	_, dial, seen := listen(t)
	o.Tunnels = these(Tunnel{Check: dialing(t, dial)})
	url := served(t, o)
	for _, path := range []string{"/livez", "/readyz", "/version", "/metrics", "/nothing"} {
		ask(t, "GET", url+path)
	}
	if got := seen.Load(); got != 0 {
		t.Errorf("the backend saw %d connections", got)
	}
}

func TestShutdownBeginsOnce(t *testing.T) {
	t.Parallel()
	o, shutdowns := everything(t)
	url := served(t, o)
	for range 3 {
		if response, _ := ask(t, "POST", url+"/_shutdown"); response.StatusCode != 200 {
			t.Errorf("%d, want 200 again and again", response.StatusCode)
		}
	}
	if got := shutdowns.Load(); got != 1 {
		t.Errorf("began %d times, want once", got)
	}
}

func TestShutdownRefusesOtherMethodsAndPages(t *testing.T) {
	t.Parallel()
	o, shutdowns := everything(t)
	url := served(t, o)
	for _, c := range []struct {
		method string
		header []string
		code   int
	}{
		{"GET", nil, 405},
		{"OPTIONS", nil, 405},
		{"POST", []string{"Origin", "https://evil.example"}, 403},
		{"POST", []string{"Origin", url}, 403}, // of a name that leads here by now
		{"POST", []string{"Origin", "null"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "same-origin"}, 403},
	} {
		if response, _ := ask(t, c.method, url+"/_shutdown", c.header...); response.StatusCode != c.code {
			t.Errorf("%s %v: %d, want %d", c.method, c.header, response.StatusCode, c.code)
		}
	}
	if got := shutdowns.Load(); got != 0 {
		t.Errorf("began %d times, want never", got)
	}
}

func TestPprofKeepsArgumentsToItself(t *testing.T) {
	t.Parallel()
	o, _ := everything(t)
	_, body := ask(t, "GET", served(t, o)+"/debug/pprof/cmdline")
	for _, argument := range os.Args[1:] {
		if strings.Contains(body, argument) {
			t.Errorf("%q has the argument %q in it", body, argument)
		}
	}
	if body == "" || strings.ContainsRune(body, 0) {
		t.Errorf("%q, want the name of the program alone", body)
	}
}
