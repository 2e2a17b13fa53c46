package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/config"
	"sallyport/webproxy"
)

// logLines is what exchanges write, without the time.
func logLines(c config.Log, observed ...webproxy.Exchange) []string {
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: c.Level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	x := newExchanges(&tunnel{config: &config.Tunnel{}, log: log}, c, nil)
	for _, e := range observed {
		x.observe(e)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestRequestsAreLogged(t *testing.T) {
	t.Parallel()
	answered := webproxy.Exchange{
		Duration: 12 * time.Millisecond, ID: "abc", Remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234}, Target: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80},
		TLS:    &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "alice"}}}},
		Method: "GET", Host: "web.example.com", Path: "/a b", Protocol: "HTTP/2.0", Code: 500, BytesIn: 1, BytesOut: 2,
	}
	refused := webproxy.Exchange{ID: "def", Remote: &net.UnixAddr{Name: "@", Net: "unix"}, Method: strings.Repeat("M", 300), Protocol: "HTTP/1.1", Code: 413, Reason: "too_large"}
	failed := answered
	failed.TLS, failed.Code, failed.Reason, failed.Err = &tls.ConnectionState{}, 502, "connection_refused", errors.New("no such luck")
	left := failed
	left.Code, left.Reason, left.Err, left.Target = 499, "client_gone", nil, nil

	const (
		request = ` request_id=abc remote=192.0.2.1:1234 target=127.0.0.1:80`
		rest    = ` method=GET host=web.example.com path="/a b" protocol=HTTP/2.0`
		size    = ` bytes_in=1 bytes_out=2 duration=12ms`
	)
	lines := map[string]string{
		"answered": `level=INFO msg=request` + request + ` identity=alice` + rest + ` code=500` + size,
		"refused":  `level=WARN msg="request failed" request_id=def remote=unix method=` + strings.Repeat("M", 256) + `… host="" path="" protocol=HTTP/1.1 code=413 bytes_in=0 bytes_out=0 duration=0s reason=too_large`,
		"failed":   `level=ERROR msg="request failed"` + request + rest + ` code=502` + size + ` reason=connection_refused error="no such luck" hint="is the service running, and is it where --target says?"`,
		"left":     `level=INFO msg=request` + strings.TrimSuffix(request, " target=127.0.0.1:80") + rest + ` code=499` + size + ` reason=client_gone`,
	}
	for _, test := range []struct {
		name string
		log  config.Log
		want []string
	}{
		{"all of them", config.Log{}, []string{"answered", "refused", "failed", "left", "answered"}},
		{"a sample", config.Log{Sample: 2}, []string{"answered", "refused", "failed", "answered"}},
		{"no requests", config.Log{Quiet: config.Quiet{Conns: true}}, []string{"refused", "failed"}},
		{"no failures", config.Log{Quiet: config.Quiet{ConnErrors: true}}, []string{"answered", "left", "answered"}},
		{"errors", config.Log{Level: slog.LevelError}, []string{"failed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for _, name := range test.want {
				want = append(want, lines[name])
			}
			if diff := cmp.Diff(want, logLines(test.log, answered, refused, failed, left, answered)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
