package sidecar

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(insideVariable); text != "" {
		os.Exit(inside(text))
	}
	// go-metrics starts one goroutine for the process with its first timer, and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
