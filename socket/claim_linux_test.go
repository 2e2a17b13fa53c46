package socket

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestOneOfManyTakesTheStaleSocket has several come to a file that a process left
// behind: one replaces it, and the others see that it is served.
func TestOneOfManyTakesTheStaleSocket(t *testing.T) {
	t.Parallel()
	for round := range 200 {
		path := filepath.Join(t.TempDir(), "s")
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		if err := stale.Close(); err != nil {
			t.Fatal(err)
		}
		const many = 3
		type outcome struct {
			ln  net.Listener
			err error
		}
		results := make(chan outcome, many)
		for range many {
			go func() {
				ln, err := Listen(t.Context(), Address{network: networkUNIX, path: path}, ListenOptions{})
				results <- outcome{ln, err}
			}()
		}
		var won []net.Listener
		for range many {
			if r := <-results; r.err == nil {
				won = append(won, r.ln)
			}
		}
		if len(won) != 1 {
			t.Errorf("round %d: %d listen", round, len(won))
		}
		for _, ln := range won {
			if conn, err := net.Dial("unix", path); err != nil {
				t.Error(err)
			} else if err := errors.Join(conn.Close(), ln.Close()); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestAClaimIsNotWaitedForLong, nor by those who want another place.
func TestAClaimIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	defer claim(t.Context(), path)()
	began := time.Now()
	claim(t.Context(), filepath.Join(dir, "other"))()
	if took := time.Since(began); took >= claimWait {
		t.Errorf("another place took %v", took)
	}
	ln, err := Listen(t.Context(), Address{network: networkUNIX, path: path}, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < claimWait {
		t.Errorf("it was waited for %v", took)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	claim(t.Context(), filepath.Join(dir, "missing", "s"))()
}
