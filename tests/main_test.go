package tests

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what should happen soon. It only
// bounds a failure: what is waited for is seen the moment it happens.
const patience = 30 * time.Second

// loopback is where everything in these tests listens.
var loopback = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// workshop is a directory that lasts as long as all tests; TestMain makes it.
var workshop string

// built builds the binary that every test runs, once, when the first one asks.
// It has the race detector in it: a race anywhere in it fails the test that
// started it.
var built = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(workshop, "sallyport")
	build := exec.Command("go", "build", "-race", "-o", binary, "sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	return binary, nil
})

// The main thread is for TestMain alone. A test that takes a thread into a network of
// its own gives it up at its end, but the main one would stay, and with it all that
// /proc/net tells of this process.
func init() { runtime.LockOSThread() } //nolint:gochecknoinits // the main thread is what init functions run on

func TestMain(m *testing.M) {
	if order, ok := os.LookupEnv(floodVariable); ok {
		if err := beginHandshakes(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "sallyport-tests-")
	if err != nil {
		panic(err)
	}
	workshop = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// sallyport returns the path of the binary under test.
func sallyport(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
