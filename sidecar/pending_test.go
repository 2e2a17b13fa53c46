package sidecar

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPendingIsWhatFilesHoldAndNobodyLoaded: neither a time stamp nor a load
// that failed makes a difference.
func TestPendingIsWhatFilesHoldAndNobodyLoaded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "id.pem")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	p := newPending([]string{path})
	want := func(when string, differ bool) {
		t.Helper()
		p.look()
		if got := p.differs(); got != differ {
			t.Errorf("%s: pending is %t", when, got)
		}
	}
	want("as loaded", false)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	want("touched", false)
	write("two")
	want("replaced", true)
	before := p.now()
	write("three")
	p.succeeded(before)
	want("replaced while it loaded", true)
	p.succeeded(p.now())
	if p.differs() {
		t.Error("a load has to wait for the next look")
	}
	want("loaded", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("removed", true)
	if p := newPending(nil); p.differs() {
		t.Error("no files are pending")
	}
}
