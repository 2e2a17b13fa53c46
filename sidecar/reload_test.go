package sidecar

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/devpki"
)

// slowPart is a part whose reload takes its time and notices no context.
type slowPart struct{ takes atomic.Int64 }

func (p *slowPart) reload(context.Context) error {
	time.Sleep(time.Duration(p.takes.Load()))
	return nil
}

func (*slowPart) news() <-chan struct{} { return nil }

func (*slowPart) name() string { return "" }

func TestAPartThatHangsIsGivenUpAndLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReload(t.Context(), &Sidecar{}, func() {})
		p := new(slowPart)
		p.takes.Store(int64(10 * reloadLimit))
		began := time.Now()
		for i := range 2 { // the second waits for the first to come back
			if err := r.one(p); !errors.Is(err, errReloadLimit) {
				t.Errorf("reload %d: %v", i, err)
			}
		}
		if took := time.Since(began); took != 2*reloadLimit {
			t.Errorf("given up after %v", took)
		}
		time.Sleep(10 * reloadLimit)
		p.takes.Store(int64(time.Second))
		if err := r.one(p); err != nil {
			t.Errorf("once it is back: %v", err)
		}
		if len(r.overdue) != 0 {
			t.Error("it is still thought to be away")
		}
	})
}

func TestReloadTakesNewFilesAndKeepsOldOnesWhenTheyAreBad(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	echo(t, listen(t, dir+"/out"))
	r := start(t, dir, serverLine+"--allow-all")
	before := r.status(t)
	old, err := r.dialTLS(t, "client")
	if err != nil {
		t.Fatal(err)
	}

	good, err := os.ReadFile(dir + "/server-key.pem")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/server-key.pem", []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 1)
	a := r.status(t)
	if !a.OK || a.Message != "listening" || !strings.Contains(a.LastReloadError, "--key "+dir+"/server-key.pem") || a.LastReload.IsZero() {
		t.Errorf("status after a bad reload: %+v", a)
	}
	if a.Certificates[0].Serial != before.Certificates[0].Serial {
		t.Error("the certificate changed")
	}
	if c, err := r.dialTLS(t, "client"); err != nil {
		t.Errorf("after a bad reload: %v", err)
	} else if err := roundTrip(c, "still serving"); err != nil {
		t.Error(err)
	}

	if err := os.WriteFile(dir+"/server-key.pem", good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := devpki.IssueInto(dir, "server", devpki.FileOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGUSR1
	r.waitLog(t, "msg=reloaded", 1)
	a = r.status(t)
	if !a.OK || a.LastReloadError != "" || a.LastReloadSuccess.IsZero() {
		t.Errorf("status after a good reload: %+v", a)
	}
	if a.Certificates[0].Serial == before.Certificates[0].Serial {
		t.Error("the certificate did not change")
	}
	if err := roundTrip(old, "from before"); err != nil {
		t.Errorf("a connection from before the reloads: %v", err)
	}
	if n := strings.Count(r.log.String(), "reload failed"); n != 1 {
		t.Errorf("the failure is in the log %d times", n)
	}
}

// What was in the way may be gone without a file having changed.
func TestAFailedReloadIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --no-watch-files")
	if err := os.Rename(dir+"/server-key.pem", dir+"/away"); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 1)
	if err := os.Rename(dir+"/away", dir+"/server-key.pem"); err != nil {
		t.Fatal(err)
	}
	r.waitLog(t, "msg=reloaded", 1)
	if a := r.status(t); a.LastReloadError != "" {
		t.Errorf("status: %+v", a)
	}
	if n := strings.Count(r.log.String(), "msg=reloading"); n != 1 {
		t.Errorf("the tries made %d lines of log:\n%s", n, r.log)
	}
}

func TestTimedReload(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --timed-reload 10ms")
	r.waitLog(t, "msg=reloaded", 3)
}

func TestATimerLogsTheSameFailureOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	r := start(t, dir, serverLine+"--allow-all --no-watch-files --timed-reload 5ms")
	spoil := func(text string) {
		next := dir + "/next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, dir+"/ca.pem"); err != nil {
			t.Fatal(err)
		}
	}
	const failed = "reload failed"
	spoil("garbage")
	r.waitLog(t, failed, 1)
	tries := strings.Count(r.log.String(), "msg=reloading")
	r.waitLog(t, "msg=reloading", tries+5)
	if n := strings.Count(r.log.String(), failed); n != 1 {
		t.Errorf("logged %d times:\n%s", n, r.log)
	}
	// Somebody who asks gets an answer, and what is new is told.
	r.signals <- syscall.SIGHUP
	r.waitLog(t, failed, 2)
	spoil("")
	r.waitLog(t, failed, 3)
}
