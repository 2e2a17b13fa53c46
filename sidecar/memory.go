package sidecar

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is how much of the memory that the cgroup allows is the Go runtime's. The rest is for what it does not see: the
// program itself, and what the kernel keeps for the process, such as what is in sockets.
const memoryShare = 0.9

// limitMemory has the garbage collector work the harder the nearer the process comes to what its cgroup allows, where the
// kernel would end it. A limit that the operator has set (GOMEMLIMIT) stays. How many processors to use, Go takes from the
// cgroup by itself; both are told where they are less than the machine has. Where the cgroup cannot be looked at, as in a root
// directory without /sys/fs/cgroup, there is nothing wrong that anybody should be told at each start. The cgroup's files are out
// of reach once the process is in its sandbox.
func limitMemory(log *slog.Logger) {
	limit, from, err := memoryLimit(os.Getenv("GOMEMLIMIT"), memlimit.FromCgroup)
	if err != nil {
		log.Debug("what memory the cgroup allows is unknown; GOMEMLIMIT sets a limit", "error", err)
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	var attrs []any
	if now := debug.SetMemoryLimit(-1); now != math.MaxInt64 {
		attrs = append(attrs, "memory", now, "from", from)
	}
	if processors := runtime.GOMAXPROCS(0); processors < runtime.NumCPU() {
		attrs = append(attrs, "processors", processors)
	}
	if len(attrs) > 0 {
		log.Info("running within limits", attrs...)
	}
}

// memoryLimit is the limit to set, in bytes; 0 is none. From says where there is one from, set or not.
func memoryLimit(byOperator string, cgroup func() (uint64, error)) (limit int64, from string, err error) {
	if byOperator != "" {
		return 0, "GOMEMLIMIT", nil
	}
	allowed, err := cgroup()
	for _, none := range []error{memlimit.ErrNoLimit, memlimit.ErrNoCgroup, memlimit.ErrCgroupsNotSupported, os.ErrNotExist} {
		if errors.Is(err, none) {
			return 0, "", nil
		}
	}
	if err != nil {
		return 0, "", err
	}
	return int64(memoryShare * float64(allowed)), "cgroup", nil
}

// measuredPercent is GOGC for a process that measures. Go collects a small heap whenever it comes to 4 MiB (at a GOGC of 100),
// and what metrics keep is a part of that: each handshake would pay for it with more collections, which cost more than all the
// counting does. A sixth more makes up for it.
const measuredPercent = 115

// makeRoomForMetrics keeps the collector from running more often for what metrics hold. A GOGC that the operator has set stays.
func makeRoomForMetrics() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(measuredPercent)
	}
}
