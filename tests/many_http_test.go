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
