package sidecar

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"sallyport/auth"
	"sallyport/config"
	"sallyport/internal/peertext"
	"sallyport/metrics"
	"sallyport/proxy"
	"sallyport/webproxy"
)

// exchanges tells metrics and log of the HTTP requests of a tunnel.
type exchanges struct {
	requests *metrics.Requests // nil: nothing would read them
	routes   *routes           // of the tunnel
	hint     func(stage, reason, serverName string) string
	log      *slog.Logger
	quiet    proxy.Quiet
	sample   uint64 // one in so many that went well is logged
	seen     atomic.Uint64
}

// newExchanges has the metrics, if there are any, tell of the requests of a tunnel that looks into HTTP.
func newExchanges(t *tunnel, c config.Log, to *metrics.Metrics) *exchanges {
	x := &exchanges{routes: t.routes, hint: t.hint, log: t.log, quiet: quiet(c.Quiet), sample: uint64(max(c.Sample, 1))}
	if to != nil {
		x.requests = to.AddRequests(t.config.Name)
	}
	return x
}

// observe takes down a request that is over.
func (x *exchanges) observe(e webproxy.Exchange) {
	if x.requests != nil {
		x.requests.Answered(e.Host, e.Method, e.Code, e.Duration)
	}
	// A client that does not wait for its answer is nothing that anybody has to look at.
	if e.Reason == "" || strings.HasPrefix(e.Reason, "client_") {
		if (x.seen.Add(1)-1)%x.sample == 0 {
			x.tell(proxy.QuietConns, slog.LevelInfo, "request", &e)
		}
		return
	}
	level := slog.LevelError
	if e.Code >= http.StatusBadRequest && e.Code < http.StatusInternalServerError {
		level = slog.LevelWarn // it is the client's fault
	}
	x.tell(proxy.QuietConnErrs, level, "request failed", &e)
}

// tell writes an event, unless its class or level is left out.
func (x *exchanges) tell(class proxy.Quiet, level slog.Level, message string, e *webproxy.Exchange) {
	ctx := context.Background()
	if x.quiet&class != 0 || !x.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("request_id", e.ID), slog.String("remote", nameOf(e.Remote)))
	if e.Target != nil {
		attrs = append(attrs, slog.String("target", nameOf(e.Target)))
	}
	serverName := ""
	if e.TLS != nil {
		serverName = e.TLS.ServerName
		if x.routes != nil {
			if r := x.routes.find(serverName); r != nil {
				attrs = append(attrs, slog.String("route", r.name))
			}
		}
		if identity := auth.Identity(*e.TLS); identity != "" {
			attrs = append(attrs, slog.String("identity", identity))
		}
	}
	attrs = append(attrs,
		slog.String("method", peertext.Cut(e.Method)), slog.String("host", peertext.Cut(e.Host)), slog.String("path", peertext.Cut(e.Path)),
		slog.String("protocol", e.Protocol), slog.Int("code", e.Code),
		slog.Int64("bytes_in", e.BytesIn), slog.Int64("bytes_out", e.BytesOut), slog.Duration("duration", e.Duration))
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	if e.Reason != "" {
		if hint := x.hint(atRequest, e.Reason, serverName); hint != "" {
			attrs = append(attrs, slog.String("hint", hint))
		}
	}
	x.log.LogAttrs(ctx, level, message, attrs...)
}

// nameOf names an address; the unnamed end of a UNIX socket is told by its network.
func nameOf(a net.Addr) string {
	if text := a.String(); text != "" && text != "@" {
		return text
	}
	return a.Network()
}
