package metrics

import (
	"testing"

	gometrics "github.com/rcrowley/go-metrics"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// go-metrics has one such goroutine in a process, from the first meter on. A bubble of synctest that it begins in never ends.
	gometrics.NewMeter().Stop()
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
