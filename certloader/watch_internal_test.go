package certloader

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// workshop is a Provider over content that a test changes, and the hinter that
// tells of it.
type workshop struct {
	content atomic.Int64 // what the files hold; negative does not load
	loads   atomic.Int64
	hint    chan struct{}
	news    chan struct{} // the Provider's own
	closed  atomic.Bool
}

func (w *workshop) Load(context.Context) (*Material, error) {
	w.loads.Add(1)
	if w.content.Load() < 0 {
		return nil, errors.New("does not load")
	}
	return new(Material), nil
}

func (w *workshop) Changed() <-chan struct{} { return w.news }
func (w *workshop) Close() error             { w.closed.Store(true); return errors.New("closed") }
func (w *workshop) hints() <-chan struct{}   { return w.hint }
func (*workshop) follow()                    {}
func (*workshop) close()                     {}

func (w *workshop) digest() Digest {
	content := w.content.Load()
	return Digest{1, byte(content), byte(content >> 8)}
}

// write changes the content and tells of it.
func (w *workshop) write(content int64) {
	w.content.Store(content)
	w.hint <- struct{}{}
}

// watching runs test with a Provider that has loaded once. Heard returns how
// long ago, by now, it has told of something new, and false if it has not.
func watching(t *testing.T, test func(t *testing.T, w *workshop, p Provider)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &workshop{hint: make(chan struct{}), news: make(chan struct{})}
		p := newWatched(w, w.digest, w)
		if _, err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, w, p)
		if err := p.Close(); err == nil || !w.closed.Load() {
			t.Errorf("Close returned %v, and the provider was closed: %t", err, w.closed.Load())
		}
	})
}

// wantNews fails the test unless p tells of something new after just that time.
func wantNews(t *testing.T, p Provider, after time.Duration) {
	t.Helper()
	began := time.Now()
	select {
	case <-p.Changed():
		if took := time.Since(began); took != after {
			t.Errorf("told after %v, want %v", took, after)
		}
	case <-time.After(time.Hour):
		t.Errorf("told nothing, want it after %v", after)
	}
}

func wantNoNews(t *testing.T, p Provider, within time.Duration) {
	t.Helper()
	began := time.Now()
	select {
	case <-p.Changed():
		t.Errorf("told of something new after %v", time.Since(began))
	case <-time.After(within):
	}
}

func TestChangesAreNewsOnceTheyHaveSettled(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		for content := range int64(5) {
			w.write(content + 1)
			time.Sleep(settleTime - time.Millisecond)
		}
		wantNews(t, p, time.Millisecond)
		if _, err := p.Load(t.Context()); err != nil {
			t.Error(err)
		}
		wantNoNews(t, p, time.Hour)
	})
}

func TestTheSameContentIsNoNews(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		w.write(0)
		wantNoNews(t, p, time.Hour)
		w.write(1) // and back before anybody has looked
		w.write(0)
		wantNoNews(t, p, time.Hour)
		if n := w.loads.Load(); n != 1 {
			t.Errorf("loaded %d times, want once", n)
		}
	})
}

func TestWhatWasLoadedMeanwhileIsNoNews(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		w.write(1)
		if _, err := p.Load(t.Context()); err != nil { // on a signal, say
			t.Error(err)
		}
		wantNoNews(t, p, time.Hour)
	})
}

func TestFilesThatDoNotLoadYetAreGivenTime(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		w.write(-1) // the certificate is there, and its key is not
		wantNoNews(t, p, 5*time.Second)
		w.write(1)
		wantNews(t, p, settleTime)
	})
}

func TestFilesThatDoNotLoadAreNewsInTheEndAndJustOnce(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		w.write(-1)
		wantNews(t, p, rolloutTime)
		if _, err := p.Load(t.Context()); err == nil {
			t.Error("loads")
		}
		wantNoNews(t, p, time.Hour)
		w.write(1)
		wantNews(t, p, settleTime)
	})
}

func TestFilesThatNeverSettleAreNewsInTheEnd(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		ctx, cancel := context.WithCancel(t.Context())
		writing := make(chan struct{})
		go func() {
			defer close(writing)
			for content := int64(1); ctx.Err() == nil; content++ {
				w.write(content)
				time.Sleep(settleTime / 2)
			}
		}()
		wantNews(t, p, rolloutTime)
		cancel()
		<-writing
	})
}

func TestAChangeThatIsTakenBackIsNoNews(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		w.write(-1)
		wantNoNews(t, p, 5*time.Second)
		w.write(0)
		wantNoNews(t, p, time.Hour)
	})
}

func TestChangesThatNothingTellsOfAreFoundByLooking(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		time.Sleep(time.Second)
		w.content.Store(1)
		wantNews(t, p, pollTime-time.Second+settleTime)
	})
}

// Where the system gives no watch at all, looking has to do.
func TestWithoutAWatchFilesAreLookedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(workshop)
		p := newWatched(w, w.digest, (*directories)(nil))
		if _, err := p.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.content.Store(1)
		wantNews(t, p, pollTime+settleTime)
		if err := p.Close(); err == nil || !w.closed.Load() {
			t.Errorf("Close returned %v, and the provider was closed: %t", err, w.closed.Load())
		}
	})
}

func TestTheProvidersOwnNewsPassesAtOnce(t *testing.T) {
	watching(t, func(t *testing.T, w *workshop, p Provider) {
		w.news <- struct{}{}
		wantNews(t, p, 0)
		w.news <- struct{}{} // nobody listens now, and nothing waits for anybody
		w.news <- struct{}{}
		wantNews(t, p, 0)
		wantNoNews(t, p, time.Hour)
	})
}

func TestNothingIsNewsBeforeTheFirstLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &workshop{hint: make(chan struct{})}
		p := newWatched(w, w.digest, w)
		w.write(1)
		wantNoNews(t, p, time.Hour)
		_ = p.Close()
	})
}
