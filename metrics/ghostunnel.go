package metrics

import (
	"time"

	gometrics "github.com/rcrowley/go-metrics"
)

// ghostunnel holds what is counted under Ghostunnel's names, over all tunnels.
type ghostunnel struct {
	registry gometrics.Registry

	acceptTotal   gometrics.Counter
	acceptSuccess gometrics.Counter
	acceptError   gometrics.Counter
	acceptTimeout gometrics.Counter
	connOpen      gometrics.Counter
	connTimeout   gometrics.Counter
	connHandshake gometrics.Timer
	connLifetime  gometrics.Timer
}

func newGhostunnel() *ghostunnel {
	r := gometrics.NewRegistry()
	return &ghostunnel{
		registry:      r,
		acceptTotal:   gometrics.NewRegisteredCounter("accept.total", r),
		acceptSuccess: gometrics.NewRegisteredCounter("accept.success", r),
		acceptError:   gometrics.NewRegisteredCounter("accept.error", r),
		acceptTimeout: gometrics.NewRegisteredCounter("accept.timeout", r),
		connOpen:      gometrics.NewRegisteredCounter("conn.open", r),
		connTimeout:   gometrics.NewRegisteredCounter("conn.timeout", r),
		connHandshake: gometrics.NewRegisteredTimer("conn.handshake", r),
		connLifetime:  gometrics.NewRegisteredTimer("conn.lifetime", r),
	}
}

// close stops the timers' rates: go-metrics keeps each running timer in a list
// of the process, which would hold it for ever.
func (g *ghostunnel) close() {
	g.connHandshake.Stop()
	g.connLifetime.Stop()
}

func (g *ghostunnel) accepted() {
	g.acceptTotal.Inc(1)
	g.connOpen.Inc(1)
}

func (g *ghostunnel) failed(stage, reason string) {
	g.acceptError.Inc(1)
	if stage == stageHandshake && reason == "timeout" {
		g.acceptTimeout.Inc(1)
	}
}

func (g *ghostunnel) handshake(took time.Duration) { g.connHandshake.Update(took) }

func (g *ghostunnel) opened() { g.acceptSuccess.Inc(1) }

func (g *ghostunnel) closed(lifetime time.Duration, reason string) {
	g.connOpen.Dec(1)
	g.connLifetime.Update(lifetime)
	switch reason {
	case "idle_timeout", "close_timeout", "lifetime", "client_stalled":
		g.connTimeout.Inc(1)
	}
}
