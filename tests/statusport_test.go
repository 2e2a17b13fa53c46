package tests

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A statusPort asks a process through its status port.
type statusPort struct {
	base   string // what a path is appended to
	client *http.Client
	token  string // what every request brings; "": none
}

// newStatusPort takes an address as --status does.
func newStatusPort(address string) *statusPort {
	transport := &http.Transport{
		DisableKeepAlives: true, // so that no connection outlives its request
		// Whom the port's certificate is for is the matter of tests of their own.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	base := address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		base = "http://unix"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	} else if !strings.Contains(address, "://") {
		base = "https://" + address
	}
	return &statusPort{base: base, client: &http.Client{Transport: transport, Timeout: patience}}
}

// ready reports whether the port answers that the process is ready.
func (s *statusPort) ready(t *testing.T) bool {
	t.Helper()
	resp, err := s.do(t.Context(), http.MethodGet, "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // nothing of it is wanted
	return resp.StatusCode == http.StatusOK
}

// A report is what the tests want of an answer to /_status.
type report struct {
	OK              bool
	Message         string
	ListenAddress   string `json:"listen_address"`
	ForwardAddress  string `json:"forward_address"`
	BackendStatus   string `json:"backend_status"`
	BackendError    string `json:"backend_error"`
	LastReloadError string `json:"last_reload_error"`

	LastReload        time.Time `json:"last_reload"`
	LastReloadSuccess time.Time `json:"last_reload_success"`

	Connections  struct{ Open, Total int }
	Certificates []struct{ Role, Serial string }
	Draining     *struct {
		Open     int
		Deadline time.Time
	}
}

// report asks for /_status.
func (s *statusPort) report(t *testing.T) (code int, r report) {
	t.Helper()
	code = s.getJSON(t, "/_status", &r)
	return code, r
}

// metric asks for the value of one metric of the JSON list.
func (s *statusPort) metric(t *testing.T, name string) float64 {
	t.Helper()
	var metrics []struct {
		Metric string
		Value  float64
	}
	s.getJSON(t, "/_metrics", &metrics)
	for _, m := range metrics {
		if m.Metric == name {
			return m.Value
		}
	}
	t.Fatalf("no metric %s among %v", name, metrics)
	return 0
}

// goroutines asks for the number of goroutines; that needs --enable-pprof.
func (s *statusPort) goroutines(t *testing.T) int {
	t.Helper()
	code, profile := s.get(t, "/debug/pprof/goroutine?debug=1")
	var n int
	if _, err := fmt.Sscanf(profile, "goroutine profile: total %d", &n); err != nil {
		t.Fatalf("GET /debug/pprof/goroutine: %d, %v\n%s", code, err, profile)
	}
	return n
}

// post sends an empty POST and returns the answer's status code.
func (s *statusPort) post(t *testing.T, path string) int {
	t.Helper()
	resp, err := s.do(t.Context(), http.MethodPost, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	return resp.StatusCode
}

// get asks for a path and returns the answer's status code and body.
func (s *statusPort) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := s.do(t.Context(), http.MethodGet, path)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return resp.StatusCode, string(body)
}

// getJSON decodes what get returns into v, and returns the status code.
func (s *statusPort) getJSON(t *testing.T, path string, v any) int {
	t.Helper()
	code, body := s.get(t, path)
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("GET %s: %v\n%s", path, err, body)
	}
	return code
}

func (s *statusPort) do(ctx context.Context, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	return s.client.Do(request)
}
