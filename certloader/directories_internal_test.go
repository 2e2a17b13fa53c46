package certloader

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTrailIsWhatCanBeSwapped(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.MkdirAll(at("a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("a/b/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"relative": "a/b/file", "absolute": at("a/b/file"), "a/up": "../a/b/../b/file",
		"directory": "a/b", "chain": "relative", "dangling": "nowhere/file", "circle": "circle",
	} {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]string{
		"a/b/file":       {"a/b/file"},
		"a/b":            {"a/b"},
		"a/b/missing":    {"a/b/missing"},
		"a/missing/file": {"a/missing"},
		"relative":       {"relative", "a/b/file"},
		"absolute":       {"absolute", "a/b/file"},
		"a/up":           {"a/up", "a/b/file"},
		"directory/file": {"directory", "a/b/file"},
		"chain":          {"chain", "relative", "a/b/file"},
		"dangling":       {"dangling", "nowhere"},
	} {
		for i := range want {
			want[i] = at(want[i])
		}
		if got := trail(at(path)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := trail(at("circle")); len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s != at("circle") }) {
		t.Errorf("circle: %q", got)
	}
}

func TestDirectoriesThatCannotBeWatchedAreToldOfOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := &directories{watcher: NewWatcher(slog.New(slog.NewTextHandler(&log, nil))), blind: make(map[string]bool)}
	full := errors.New("no space left on device")
	for _, err := range []error{full, full, fs.ErrNotExist} {
		d.look("/certs", err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "directory=/certs") || !strings.Contains(got, "no space") {
		t.Errorf("log: %q", got)
	}
	d.look("/certs", nil) // watched again, and then no more
	d.look("/certs", full)
	if got := log.String(); strings.Count(got, "\n") != 2 {
		t.Errorf("log: %q", got)
	}
}

func TestDigestTellsContentsApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two, empty := write("one", "content"), write("two", "content"), write("empty", "")
	missing := filepath.Join(dir, "missing")
	seen := map[Digest]string{}
	for name, paths := range map[string][]string{
		"nothing": nil, "one": {one}, "both": {one, two}, "empty": {empty}, "empty twice": {empty, empty},
		"missing": {missing}, "a directory": {dir}, "one and missing": {one, missing}, "missing and one": {missing, one},
	} {
		d := DigestFiles(paths)
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[d] = name
		if d != DigestFiles(paths) {
			t.Errorf("%s: the digest changes by itself", name)
		}
	}
	if DigestFiles([]string{one}) != DigestFiles([]string{two}) {
		t.Error("the same content in another file has another digest")
	}
}
