package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHomesOfADeviceAreNotAllDevices(t *testing.T) {
	t.Parallel()
	if _, err := os.Lstat("/dev/null"); err != nil {
		t.Skip("no /dev/null here")
	}
	for _, path := range []string{"/dev/null", "/dev/stdin"} {
		if found := homes(path); slices.Contains(found, "/dev") || !slices.Contains(found, path) {
			t.Errorf("%s: %q", path, found)
		}
	}
	if found := homes("/dev"); !slices.Equal(found, []string{"/dev"}) {
		t.Errorf("/dev: %q", found)
	}
}

// TestHomesAreNoMoreThanThePathLeadsTo, however a link is written, and where the
// path is one that cannot be.
func TestHomesAreNoMoreThanThePathLeadsTo(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, sub := range []string{"app", "secret"} {
		if err := os.Mkdir(at(sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"app/up": "../secret", "app/around": dir + "/app/../secret", "circle": "circle",
	} {
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string][]string{
		"app/key.pem":        {"app"},
		"app/missing/key":    {"app"},
		"app/up/key.pem":     {"secret"},
		"app/around/key.pem": {"secret"},
		"file/secret":        {""}, // a file is no directory, whatever is beside it
		"circle":             {""},
	} {
		for i := range want {
			want[i] = at(want[i])
		}
		if got := homes(at(path)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
