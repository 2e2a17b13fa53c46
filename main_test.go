package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sallyport runs a command line without environment, and gives what it wrote
// to standard output.
func sallyport(t *testing.T, wantCode int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	if code := run(args, none, &stdout, &stderr); code != wantCode {
		t.Fatalf("%q ended with %d, want %d: %s", args, code, wantCode, stderr.String())
	}
	return stdout.String()
}

func TestCertsTellsWhenItReplacesACA(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	const notice = "the CA is new"
	if out := sallyport(t, exitOK, "certs", "init", dir, "--force"); strings.Contains(out, notice) {
		t.Errorf("where there was none: %q", out)
	}
	if out := sallyport(t, exitOK, "certs", "issue", dir, "server", "--force"); strings.Contains(out, notice) {
		t.Errorf("for one identity: %q", out)
	}
	if out := sallyport(t, exitOK, "certs", "init", dir, "--force"); strings.Count(out, notice) != 1 {
		t.Errorf("where there was one: %q", out)
	}
}

func TestCertsIssueNeedsNoFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sallyport(t, exitOK, "certs", "init", dir, "--days", "7")
	sallyport(t, exitOK, "certs", "issue", dir, "alice", "--ou", "eng")
	sallyport(t, exitFailure, "certs", "issue", dir, "bob", "--days", "8")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "alice.pem"), filepath.Join(dir, "alice-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if units := pair.Leaf.Subject.OrganizationalUnit; !slices.Equal(units, []string{"eng"}) {
		t.Errorf("organizational units %q", units)
	}
}

// TestTheEndWaitsForNobodyToReadWhy, as of a pipe that is full.
func TestTheEndWaitsForNobodyToReadWhy(t *testing.T) {
	t.Parallel()
	unread, stderr := io.Pipe()
	defer unread.Close() // lets go of who writes
	ended := make(chan int, 1)
	go func() {
		none := func(string) (string, bool) { return "", false }
		ended <- run([]string{"certs", "issue", t.TempDir(), "alice"}, none, io.Discard, stderr)
	}()
	select {
	case code := <-ended:
		if code != exitFailure {
			t.Errorf("it ended with %d", code)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

func TestCommitIsWhatTheLinkerWasTold(t *testing.T) {
	defer func(before string) { revision = before }(revision)
	revision = "0123abcd"
	if got := commit(); got != revision {
		t.Errorf("commit() = %q, want %q", got, revision)
	}
}
