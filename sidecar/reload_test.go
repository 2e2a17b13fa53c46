package sidecar

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowPart is a part whose reload takes its time and notices no context.
type slowPart struct{ takes atomic.Int64 }

func (p *slowPart) reload(context.Context) error {
	time.Sleep(time.Duration(p.takes.Load()))
	return nil
}

func (*slowPart) news() <-chan struct{} { return nil }
func (*slowPart) name() string          { return "" }

func TestAPartThatHangsIsGivenUpAndLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReload(t.Context(), &Sidecar{}, func() {})
		p := new(slowPart)
		p.takes.Store(int64(10 * reloadLimit))
		began := time.Now()
		for i := range 2 { // the second waits for the first to come back
			if err := r.one(p); !errors.Is(err, errReloadLimit) {
				t.Errorf("reload %d: %v", i, err)
			}
		}
		if took := time.Since(began); took != 2*reloadLimit {
			t.Errorf("given up after %v", took)
		}
		time.Sleep(10 * reloadLimit)
		p.takes.Store(int64(time.Second))
		if err := r.one(p); err != nil {
			t.Errorf("once it is back: %v", err)
		}
		if len(r.overdue) != 0 {
			t.Error("it is still thought to be away")
		}
	})
}
