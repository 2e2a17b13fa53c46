package tests

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTunnelsOfHTTPAreReplacedWithoutAFailedRequest has clients that keep their connections send requests while the tunnel
// changes, over HTTP/1.1 and HTTP/2.
func TestTunnelsOfHTTPAreReplacedWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(service.Close)
	listen := reserve(t)
	web := func(generation int) string {
		return one("web", listen, strings.TrimPrefix(service.URL, "http://"), "protocol: http", fmt.Sprintf("idle-timeout: %dh", 1+generation%2))
	}
	m.write(t, web(0))
	m.run(t, "--quiet", "conns")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	var good atomic.Int64
	for i := range 4 {
		config := m.client(t)
		if i%2 == 0 {
			config.NextProtos = []string{"http/1.1"}
		}
		client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: i%2 == 1}}
		clients.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				response, err := client.Get("https://" + strings.Replace(listen, "127.0.0.1", "localhost", 1))
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("after %d good requests: %v", good.Load(), err)
					return
				}
				good.Add(1)
			}
		})
	}
	for i := 1; i <= 10; i++ {
		before := good.Load()
		m.write(t, web(i))
		m.reload(t)
		eventually(t, "some requests are answered", func() bool { return good.Load() >= before+20 || t.Failed() })
	}
	stop()
	clients.Wait()
	m.stop(t)
}

// TestRequestsAreToldOfWhileTheirTunnelLooksIntoThem, and by those that are there from before until they are gone.
func TestRequestsAreToldOfWhileTheirTunnelLooksIntoThem(t *testing.T) {
	t.Parallel()
	m := newMany(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(arrived)
			<-release
		}
	}))
	t.Cleanup(service.Close)
	listen, target := reserve(t), strings.TrimPrefix(service.URL, "http://")
	http1, http2 := one("web", listen, target, "protocol: http"), one("other", reserve(t), target, "protocol: http")
	m.write(t, http1, http2)
	m.run(t)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: m.client(t)}}
	defer client.CloseIdleConnections()
	get := func(path string) {
		response, err := client.Get("https://" + strings.Replace(listen, "127.0.0.1", "localhost", 1) + path)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %v", path, err)
			return
		}
		_ = response.Body.Close()
	}
	told := func() bool {
		_, text := m.status.get(t, "/metrics")
		return strings.Contains(text, "\nhttp_dataplane_requests_total{") && strings.Contains(text, "\nhttp_dataplane_request_duration_seconds_count{")
	}
	get("/")
	eventually(t, "the request is told of", told)
	var waiting sync.WaitGroup
	waiting.Go(func() { get("/wait") })
	receive(t, "the request at the target", arrived)
	m.write(t, one("web", listen, target), http2)
	m.reload(t)
	if !told() {
		t.Error("requests are no longer told of while one is in hand")
	}
	close(release)
	waiting.Wait()
	client.CloseIdleConnections()
	eventually(t, "nothing is told of requests that nobody looks into", func() bool { return !told() })
	m.write(t, http1, http2)
	m.reload(t)
	get("/")
	eventually(t, "requests are told of again", told)
	m.stop(t)
}
