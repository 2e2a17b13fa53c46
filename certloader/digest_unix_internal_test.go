//go:build unix

package certloader

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// From a pipe, reading takes away what others wait for, or waits itself.
func TestDigestReadsFilesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Back to where it is, over and over, if somebody went along.
	if err := os.Symlink(".", at("again")); err != nil {
		t.Fatal(err)
	}
	before := DigestFiles([]string{at("pipe"), dir})
	if before == DigestFiles([]string{dir, dir}) {
		t.Error("a pipe is like a directory")
	}
	if err := os.WriteFile(at("new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if DigestFiles([]string{at("pipe"), dir}) == before {
		t.Error("a file that is new is not seen beside the pipe and the link")
	}
}
