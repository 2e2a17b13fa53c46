package sidecar

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackAtRest(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	tests := []struct {
		name      string
		live      uint64
		held      uint64
		perSecond uint64 // allocated
		want      int    // how often it was given back after some seconds
	}{
		{"after a burst", 20 * mib, 45 * mib, 0, 1},
		{"while somebody reads the metrics", 20 * mib, 45 * mib, mib / 2, 1},
		{"not while there is work", 20 * mib, 45 * mib, 20 * mib, 0},
		{"not for little", mib, 4 * mib, 0, 0},
		{"not for a small part of much", 100 * mib, 120 * mib, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, given := time.Now(), 0
				use := memoryUse{live: test.live, held: test.held}
				r := &rest{
					use: func() memoryUse {
						use.allocated = uint64(time.Since(start).Seconds()) * test.perSecond
						return use
					},
					giveBack: func() { given++; use.held = use.live },
					log:      slog.New(slog.DiscardHandler),
				}
				ctx, cancel := context.WithCancel(t.Context())
				var done sync.WaitGroup
				done.Go(func() { r.run(ctx) })
				time.Sleep(10*restInterval + restInterval/2)
				cancel()
				done.Wait()
				if given != test.want {
					t.Errorf("given back %d times; want %d", given, test.want)
				}
			})
		})
	}
}

func TestMemoryUseIsTheRuntimes(t *testing.T) {
	before := readMemoryUse()
	p := make([]byte, 8<<20)
	after := readMemoryUse()
	if after.allocated-before.allocated < uint64(len(p)) || after.held < uint64(len(p)) || before.live == 0 && after.live > after.held {
		t.Errorf("before %+v, after %+v; 8 MiB were allocated between", before, after)
	}
	runtime.KeepAlive(p)
}

func TestRoomForGarbageIsTheOperatorsToSay(t *testing.T) {
	t.Setenv("GOGC", "200")
	if r := newRest(nil); r != nil {
		t.Error("memory would be given back though GOGC is set")
	}
	t.Setenv("GOGC", "")
	if newRest(nil) == nil {
		t.Error("memory would not be given back")
	}
}
