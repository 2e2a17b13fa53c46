package sidecar

import (
	"context"
	"sync/atomic"
	"time"

	"sallyport/certloader"
)

// pendingLook is how often to look whether files have something that is not in use.
const pendingLook = 10 * time.Second

// pending knows whether the files that a tunnel loads hold something else than what it has loaded: what was put there without
// a reload, or does not load.
type pending struct {
	paths  []string
	loaded atomic.Pointer[certloader.Digest] // what the files held at the latest load without a fault
	differ atomic.Bool
}

// newPending is called before the files are loaded.
func newPending(paths []string) *pending {
	p := &pending{paths: paths}
	p.succeeded(p.now())
	return p
}

// now is what the files hold.
func (p *pending) now() certloader.Digest { return certloader.DigestFiles(p.paths) }

// succeeded takes note of a load, and of what the files held before it.
func (p *pending) succeeded(before certloader.Digest) {
	p.loaded.Store(&before)
	p.differ.Store(false)
}

// look compares the files with what was loaded.
func (p *pending) look() {
	loaded := p.loaded.Load()
	differ := p.now() != *loaded
	if p.loaded.Load() == loaded { // else they were loaded meanwhile, and the next look tells
		p.differ.Store(differ)
	}
}

// watchPending looks at the files of all tunnels until the context ends. A scrape must not wait for a disk.
func (s *Sidecar) watchPending(ctx context.Context) {
	again := time.NewTicker(pendingLook)
	defer again.Stop()
	for {
		for _, t := range s.tunnels {
			t.pending.look()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
