package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links one path may lead over, as in Linux.
const maxLinks = 40

// homes returns the directories that the file at path is at home in: those in which another can take its place. They are
//
//   - the one that holds it, or would hold it;
//   - if its name is a link, the one that holds the link, and so on;
//   - if the path leads over a link to a directory, and that directory is below the one that holds the link, the one that
//     it is in. It is what links look like that are swapped: current -> releases/42, or Kubernetes' ..data. One that leads
//     elsewhere, such as /var/run -> /run, is part of the system.
//
// A directory is at home in itself. Of the root directory and of /dev, what path names there is returned instead. Where the
// path ends before the file is reached, the last directory that exists counts.
func homes(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil // there is no working directory any more
	}
	var found []string
	add := func(dir, entry string) {
		if dir == root || dir == devices {
			dir = entry
		}
		if !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	at, rest := root, split(path)
	for links := 0; len(rest) > 0; {
		entry := filepath.Join(at, rest[0]) // at is no link, so that .. is what Join takes it for
		rest = rest[1:]
		info, err := os.Lstat(entry)
		switch {
		case err != nil:
			add(at, entry)
			return found
		case info.Mode().Type() == os.ModeSymlink:
			target, err := os.Readlink(entry)
			if links++; err != nil || links > maxLinks {
				return found
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(at, target)
			}
			target = filepath.Clean(target)
			if len(rest) == 0 {
				add(at, entry)
			} else if below(target, at) {
				add(filepath.Dir(target), target)
			}
			at, rest = root, append(split(target), rest...)
		case info.IsDir():
			at = entry
		default: // the file, or one where the path wants a directory
			add(at, entry)
			return found
		}
	}
	add(at, at)
	return found
}

const (
	root = string(filepath.Separator)

	// devices is where /dev/stdin is, and every disk.
	devices = "/dev"
)

// split returns the names that an absolute path consists of.
func split(path string) []string {
	rest := strings.Trim(filepath.Clean(path), root)
	if rest == "" {
		return nil
	}
	return strings.Split(rest, root)
}

// below reports whether a path leads to somewhere below a directory that is not the root.
func below(path, dir string) bool { return dir != root && strings.HasPrefix(path, dir+root) }

// settled returns a path without symbolic links. For a file that is kept elsewhere it is the directory there, in which the
// file may be replaced; but none that holds path itself, for that is too much where the system's files are.
func settled(path string) string {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path // it does not exist
	}
	if dir := filepath.Dir(target); isFile(target) && dir != root && !below(path, dir) {
		return dir
	}
	return target
}

func isFile(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // whoever sets the environment may say where to look
	return err == nil && !info.IsDir()
}
