package certloader

import (
	"context"
	"sync"
	"time"
)

const (
	// settleTime is how long files have to be left alone before they are read.
	settleTime = 500 * time.Millisecond

	// rolloutTime is how long it may take to replace files that belong together,
	// such as the certificate first and then its key.
	rolloutTime = 10 * time.Second

	// pollTime is how often the files are looked at unasked: network file systems
	// tell of no changes, and what tells of them on others has limits.
	pollTime = 30 * time.Second
)

// watched is a Provider with files that are watched. Its goroutine ends with
// Close.
type watched struct {
	provider Provider
	digest   func() Digest // of the files as they are
	hinter   hinter
	changed  chan struct{}

	cancel  context.CancelFunc
	running sync.WaitGroup

	loading sync.Mutex // held while the provider loads
	loaded  Digest     // of the files that it loaded last
}

// hinter tells when to look at the files.
type hinter interface {
	// hints receives when they may have changed.
	hints() <-chan struct{}

	// follow is called whenever they are looked at: they may be elsewhere by now.
	follow()

	close()
}

func newWatched(provider Provider, digest func() Digest, hinter hinter) *watched {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{provider: provider, digest: digest, hinter: hinter, changed: make(chan struct{}, 1), cancel: cancel}
	w.running.Go(func() { w.run(ctx) })
	return w
}

// Load notes what it loads, whether or not that succeeds: to load the same again
// would be no news.
func (w *watched) Load(ctx context.Context) (*Material, error) {
	w.loading.Lock()
	defer w.loading.Unlock()
	before := w.digest() // what changes while it loads is news
	material, err := w.provider.Load(ctx)
	if ctx.Err() == nil {
		w.loaded = before
	}
	return material, err
}

// Changed receives what the provider has to say, too.
func (w *watched) Changed() <-chan struct{} { return w.changed }

// Close ends the watch first, so that nothing loads when the provider is closed.
func (w *watched) Close() error {
	w.cancel()
	w.running.Wait()
	w.hinter.close()
	return w.provider.Close()
}

// run looks at the files when something happened to them, and when the time has
// come.
func (w *watched) run(ctx context.Context) {
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	settled := time.NewTimer(settleTime)
	settled.Stop() // until something happens
	defer settled.Stop()
	var began time.Time // when the change under way was noticed; zero: there is none

	for {
		select {
		case <-ctx.Done():
			return
		case <-w.provider.Changed():
			w.tell()
		case <-w.hinter.hints():
			if began.IsZero() {
				began = time.Now()
			}
			settled.Reset(min(settleTime, time.Until(began.Add(rolloutTime))))
		case <-poll.C:
			if began.IsZero() {
				began = time.Now()
				settled.Reset(settleTime)
			}
		case <-settled.C:
			if again := w.look(ctx, began); again > 0 {
				settled.Reset(again)
			} else {
				began = time.Time{}
			}
		}
	}
}

// look tells of a change that is complete, or has had the time to become it. For
// others it returns when to look again.
func (w *watched) look(ctx context.Context, began time.Time) (again time.Duration) {
	w.hinter.follow() // first, so that what changes behind the digest is noticed
	if !w.differs() {
		return 0
	}
	if left := time.Until(began.Add(rolloutTime)); left > 0 && !w.loads(ctx) {
		return left
	}
	w.tell()
	return 0
}

// differs reports whether the files hold something else than what was loaded, if
// anything was.
func (w *watched) differs() bool {
	now := w.digest()
	w.loading.Lock()
	defer w.loading.Unlock()
	return w.loaded != (Digest{}) && now != w.loaded
}

// loads reports whether the provider would load now.
func (w *watched) loads(ctx context.Context) bool {
	w.loading.Lock()
	defer w.loading.Unlock()
	_, err := w.provider.Load(ctx)
	return err == nil
}

func (w *watched) tell() {
	select {
	case w.changed <- struct{}{}:
	default: // is about to be heard
	}
}
