package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need returns the path of a program that the test cannot do without. Where it
// is missing the test is skipped, or fails with CI=true in the environment.
func need(t *testing.T, program string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	// Debian keeps servers where the PATH of an ordinary user does not look, and
	// tests/peers-go.sh what it builds in the user's cache.
	places := []string{"/usr/sbin"}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "sallyport-peers"))
	}
	for _, place := range places {
		if path, err := exec.LookPath(filepath.Join(place, program)); err == nil {
			return path
		}
	}
	skip(t, program+" is missing: make peers installs it")
	return ""
}

// skip skips the test with a reason, or fails it with CI=true in the
// environment. No test of this package skips in another way, but for those that
// take long and say that make test-full runs them.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (with CI=true nothing is skipped)", reason)
	}
	t.Skip(reason)
}

// full reports whether the long variants of the tests are to run.
func full() bool { return os.Getenv("SALLYPORT_FULL") == "1" }
