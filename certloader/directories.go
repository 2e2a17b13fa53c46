package certloader

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// directories is what a [Watcher] watches for one provider: the directories that lead
// to its files, in which a rename can swap a file, or a symbolic link on the way to
// it. Of a path that is a directory, it is what is in it, at any depth. Files
// themselves are not watched, for a watch stays with the file that was replaced.
//
// Nil watches nothing.
type directories struct {
	paths   []string
	watcher *Watcher
	hint    chan struct{}

	// Guarded by the watcher's mu.
	entries map[string]bool // what leads to the files, and the directories that it is in
	within  map[string]bool // the directories of which all that is in them concerns

	// Guarded by the watcher's changing.
	wanted map[string]bool // the directories that are watched
	blind  map[string]bool // those that cannot be
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
	wanted := d.survey() // first: a disk that does not answer keeps nobody else waiting
	d.watcher.changing.Lock()
	defer d.watcher.changing.Unlock()
	d.watch(wanted)
}

// survey looks where the files are, takes note of what concerns them, and returns the
// directories to watch.
func (d *directories) survey() (wanted map[string]bool) {
	entries, within, wanted := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, path := range d.paths {
		for _, entry := range trail(path) {
			entries[entry] = true
			wanted[filepath.Dir(entry)] = true
		}
		for _, below := range tree(path) {
			wanted[below] = true
			within[below] = true
		}
	}
	for path := range wanted {
		entries[path] = true
	}
	d.watcher.mu.Lock()
	defer d.watcher.mu.Unlock()
	d.entries, d.within = entries, within
	return wanted
}

// watch watches these directories and no others. The watcher's changing is held.
func (d *directories) watch(wanted map[string]bool) {
	before := d.wanted
	d.wanted = wanted
	for path := range wanted {
		if !before[path] {
			d.watcher.wanted[path]++
		}
		// Once more for those that are watched: another may be in their place.
		d.look(path, d.watcher.notify.Add(path))
	}
	for path := range before {
		if !wanted[path] {
			d.watcher.unwant(path)
		}
	}
}

// look tells of a directory that turns out not to be watched, once.
func (d *directories) look(path string, err error) {
	if err == nil {
		delete(d.blind, path)
	} else if !d.blind[path] && !os.IsNotExist(err) {
		d.blind[path] = true
		d.watcher.log.Warn("cannot watch a directory; looking at its files now and then",
			"directory", path, "every", pollTime, "error", err)
	}
}

// concerns tells whether an event by that name may have to do with the files.
func (d *directories) concerns(name string) bool {
	return d.entries[name] || d.within[filepath.Dir(name)]
}

func (d *directories) tell() {
	select {
	case d.hint <- struct{}{}:
	default: // is about to be heard
	}
}

func (d *directories) close() {
	if d != nil {
		d.watcher.leave(d)
	}
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
