package sandbox

import (
	"os"
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
