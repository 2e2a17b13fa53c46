package certloader

import (
	"log/slog"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Watcher watches the files of any number of providers. Of what it takes for that, a
// user may have few on most systems, and so it takes one for all of them, and none
// while there is nothing to watch. Make it with [NewWatcher]; nil watches nothing.
type Watcher struct {
	log *slog.Logger

	// changing is held to change what is watched: it guards notify, wanted and
	// running.
	changing sync.Mutex
	notify   *fsnotify.Watcher // nil while nothing is watched
	wanted   map[string]int    // how many want a directory to be watched
	running  *sync.WaitGroup

	// mu guards who listens, and for what. It is never held while notify is called:
	// that may wait, for a lock under which it tells of an error, and whoever hears
	// of the error takes mu.
	mu  sync.Mutex
	all map[*directories]bool
}

// NewWatcher returns a Watcher that tells log of directories that cannot be watched.
func NewWatcher(log *slog.Logger) *Watcher {
	return &Watcher{log: log, all: make(map[*directories]bool), wanted: make(map[string]int)}
}

// Watch returns a Provider that brings what provider brings, owns it, and also
// says that there is something new when the files at paths no longer hold what
// was loaded last. Without paths it returns provider itself.
//
// Files may be rewritten, renamed over, or swapped by a symbolic link on their
// path, as Kubernetes does; directories may come and go. Their content alone
// tells a change, and it is news once it has settled and loads. What does not
// load is news after ten seconds, so that files can be replaced one by one.
//
// The files of a directory that cannot be watched are looked at now and then.
func (w *Watcher) Watch(provider Provider, paths []string) Provider {
	if w == nil || len(paths) == 0 {
		return provider
	}
	return newWatched(provider, func() Digest { return DigestFiles(paths) }, w.directories(paths))
}

// directories watches what leads to paths. If the system gives no watch at all, it
// tells the log and returns nil.
func (w *Watcher) directories(paths []string) *directories {
	d := &directories{paths: paths, watcher: w, hint: make(chan struct{}, 1), blind: make(map[string]bool)}
	wanted := d.survey()
	w.changing.Lock()
	defer w.changing.Unlock()
	if w.notify == nil {
		notify, err := fsnotify.NewWatcher()
		if err != nil {
			w.log.Warn("cannot watch files; looking at them now and then", "every", pollTime, "error", err)
			return nil
		}
		w.notify, w.running = notify, new(sync.WaitGroup)
		w.running.Go(func() { w.run(notify) })
	}
	w.mu.Lock()
	w.all[d] = true
	w.mu.Unlock()
	d.watch(wanted)
	return d
}

// run passes on what concerns anybody's files, until it is closed.
func (w *Watcher) run(notify *fsnotify.Watcher) {
	events, errs := notify.Events, notify.Errors
	for events != nil {
		select {
		case event, ok := <-events:
			if !ok {
				events = nil
			} else {
				w.tell(func(d *directories) bool { return d.concerns(event.Name) })
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
			} else {
				w.tell(func(*directories) bool { return true }) // events were lost, perhaps
			}
		}
	}
}

// tell gives a hint to those whom something concerns.
func (w *Watcher) tell(concerns func(*directories) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := range w.all {
		if concerns(d) {
			d.tell()
		}
	}
}

// unwant has one less want a directory to be watched. w.changing is held.
func (w *Watcher) unwant(path string) {
	if w.wanted[path]--; w.wanted[path] == 0 {
		delete(w.wanted, path)
		_ = w.notify.Remove(path) // it may be gone by itself
	}
}

// leave ends the watch for one, and all of it with the last.
func (w *Watcher) leave(d *directories) {
	w.changing.Lock()
	defer w.changing.Unlock()
	w.mu.Lock()
	delete(w.all, d)
	last := len(w.all) == 0
	w.mu.Unlock()
	for path := range d.wanted {
		w.unwant(path)
	}
	if last {
		_ = w.notify.Close() // has nothing to say
		w.running.Wait()
		w.notify = nil
	}
}
