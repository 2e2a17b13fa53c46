package sidecar

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go keeps as much memory again as is in use, for garbage to come, and a process that has come to rest would keep it for good:
// of a thousand connections that opened together and now wait, that is as much as the connections themselves take.
const (
	restInterval = time.Second // how often is looked whether the process rests
	restfulBytes = 1 << 20     // what is allocated between two looks at most, at rest: the reader of metrics allocates too
	minGivenBack = 4 << 20     // what is worth a collection
)

// rest gives memory back to the system once the process is at rest.
type rest struct {
	use      func() memoryUse
	giveBack func()
	log      *slog.Logger
}

// memoryUse is what the Go runtime tells of its heap, in bytes.
type memoryUse struct {
	allocated uint64 // since the start
	live      uint64 // in use when it was collected last
	held      uint64 // taken from the system, for objects, garbage or nothing
}

// newRest returns nil where the operator has said how much room there is to be for garbage (GOGC).
func newRest(log *slog.Logger) *rest {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	return &rest{use: readMemoryUse, giveBack: debug.FreeOSMemory, log: log}
}

// run looks after the memory until the context ends.
func (r *rest) run(ctx context.Context) {
	if r == nil {
		return
	}
	ticker := time.NewTicker(restInterval)
	defer ticker.Stop()
	before := r.use()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := r.use()
		if now.allocated-before.allocated <= restfulBytes && now.worthCollecting() {
			r.giveBack()
			held := now.held
			now = r.use()
			r.log.Debug("gave memory back to the system", "held_before", held, "held", now.held)
		}
		before = now
	}
}

// worthCollecting reports whether more is held than is in use by a quarter, and by minGivenBack. What trickles in at rest is
// collected no more often than it adds up to that.
func (m memoryUse) worthCollecting() bool {
	return m.held > m.live+max(m.live/4, minGivenBack)
}

func readMemoryUse() memoryUse {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return memoryUse{
		allocated: samples[0].Value.Uint64(),
		live:      samples[1].Value.Uint64(),
		held:      samples[2].Value.Uint64() + samples[3].Value.Uint64(),
	}
}
