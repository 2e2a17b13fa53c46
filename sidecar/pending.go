package sidecar

import (
	"context"
	"sync"
	"time"

	"sallyport/certloader"
)

// pendingLook is how often to look whether files have something that is not in use.
const pendingLook = 10 * time.Second

// pending knows whether the files that a tunnel loads hold something else than what it has loaded: what was put there without
// a reload, or does not load.
type pending struct {
	paths []string

	mu     sync.Mutex
	loaded certloader.Digest // what the files held at the latest load without a fault
	differ bool              // they held something else when they were last looked at
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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loaded, p.differ = before, false
}

// differs reports what the latest look found.
func (p *pending) differs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.differ
}

// look compares the files with what was loaded. Nobody waits for the disk meanwhile; where the files are loaded, too, what
// they held before says nothing.
func (p *pending) look() {
	p.mu.Lock()
	loaded := p.loaded
	p.mu.Unlock()
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded == loaded {
		p.differ = now != loaded
	}
}

// watchPending looks at the files of all tunnels until the context ends. A scrape must not wait for a disk.
func (s *Sidecar) watchPending(ctx context.Context) {
	again := time.NewTicker(pendingLook)
	defer again.Stop()
	for {
		for _, t := range s.fleet.tunnels() {
			t.pending.look()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
