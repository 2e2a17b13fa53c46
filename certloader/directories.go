package certloader

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// directories watches the directories that lead to some files: those in which a
// rename can swap a file, or a symbolic link on the way to it. Of a path that is
// a directory, it watches what is in it, at any depth. Files themselves
// are not watched, for a watch stays with the file that was replaced.
//
// Nil watches nothing.
type directories struct {
	paths   []string
	log     *slog.Logger
	watcher *fsnotify.Watcher
	hint    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	entries map[string]bool // what leads to the files, and the directories that it is in
	within  map[string]bool // the directories of which all that is in them concerns
	blind   map[string]bool // the directories that cannot be watched
}

// watchDirectories watches what leads to paths. If the system gives no watch at
// all, it tells log and returns nil.
func watchDirectories(paths []string, log *slog.Logger) *directories {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("cannot watch files; looking at them now and then", "every", pollTime, "error", err)
		return nil
	}
	d := &directories{paths: paths, log: log, watcher: watcher, hint: make(chan struct{}, 1), blind: make(map[string]bool)}
	d.follow()
	d.running.Go(d.run)
	return d
}

// hints receives when something that leads to a file has changed, perhaps.
func (d *directories) hints() <-chan struct{} {
	if d == nil {
		return nil
	}
	return d.hint
}

// follow watches what leads to the files now. Whoever was told of a change calls
// it: the files may be elsewhere since.
func (d *directories) follow() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = make(map[string]bool)
	d.within = make(map[string]bool)
	wanted := make(map[string]bool)
	for _, path := range d.paths {
		for _, entry := range trail(path) {
			d.entries[entry] = true
			wanted[filepath.Dir(entry)] = true
		}
		for _, below := range tree(path) {
			wanted[below] = true
			d.within[below] = true
		}
	}
	for _, path := range d.watcher.WatchList() {
		if !wanted[path] {
			_ = d.watcher.Remove(path) // it may be gone by itself
		}
	}
	for path := range wanted {
		d.entries[path] = true
		// Once more for those that are watched: another may be in their place.
		d.look(path, d.watcher.Add(path))
	}
}

// look tells of a directory that turns out not to be watched, once. d.mu is held.
func (d *directories) look(path string, err error) {
	if err == nil {
		delete(d.blind, path)
	} else if !d.blind[path] && !os.IsNotExist(err) {
		d.blind[path] = true
		d.log.Warn("cannot watch a directory; looking at its files now and then",
			"directory", path, "every", pollTime, "error", err)
	}
}

// run passes on what concerns the files, until the watcher is closed.
func (d *directories) run() {
	events, errs := d.watcher.Events, d.watcher.Errors
	for events != nil {
		select {
		case event, ok := <-events:
			if !ok {
				events = nil
			} else if d.concerns(event.Name) {
				d.tell()
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
			} else {
				d.tell() // events were lost
			}
		}
	}
}

func (d *directories) concerns(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.entries[name] || d.within[filepath.Dir(name)]
}

func (d *directories) tell() {
	select {
	case d.hint <- struct{}{}:
	default: // is about to be heard
	}
}

func (d *directories) close() {
	if d == nil {
		return
	}
	_ = d.watcher.Close() // has nothing to say
	d.running.Wait()
}

// tree returns path and the directories below it, if it is a directory.
func tree(path string) []string {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil
	}
	var all []string
	_ = filepath.WalkDir(path, func(at string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			all = append(all, at)
		}
		return nil // what cannot be read cannot be watched
	})
	return all
}

// trail returns the directory entries that path leads over and that can be
// swapped: its symbolic links and what they lead to, down to the file, or to the
// first entry that is missing.
func trail(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil // there is no working directory any more
	}
	var entries []string
	at, rest := splitRoot(path)
	for links := 0; len(rest) > 0; {
		entry := filepath.Join(at, rest[0]) // at is no link, so that .. is what Join takes it for
		rest = rest[1:]
		info, err := os.Lstat(entry)
		if err != nil {
			return append(entries, entry)
		}
		if info.Mode().Type() == os.ModeSymlink {
			entries = append(entries, entry)
			target, err := os.Readlink(entry)
			if links++; err != nil || links > maxLinks {
				return entries
			}
			var names []string
			if filepath.IsAbs(target) {
				at, names = splitRoot(target)
			} else {
				names = strings.Split(target, string(filepath.Separator))
			}
			rest = append(names, rest...)
			continue
		}
		if len(rest) == 0 {
			entries = append(entries, entry)
		}
		at = entry
	}
	return entries
}

// maxLinks is how many symbolic links one path may lead over, as in Linux.
const maxLinks = 40

// splitRoot splits an absolute path into its root and the names below it.
func splitRoot(path string) (root string, names []string) {
	path = filepath.Clean(path)
	root = filepath.VolumeName(path) + string(filepath.Separator)
	rest := strings.TrimPrefix(path, root)
	if rest == "" {
		return root, nil
	}
	return root, strings.Split(rest, string(filepath.Separator))
}
