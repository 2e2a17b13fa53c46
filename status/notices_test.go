package status

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a manager in memory, at the other end of a net.Conn.
type recorder struct {
	net.Conn // nil: no other method is called

	mu   sync.Mutex
	got  []string
	fail error // of the next writes
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return 0, r.fail
	}
	r.got = append(r.got, string(p))
	return len(p), nil
}

func (*recorder) SetWriteDeadline(time.Time) error { return nil }
func (*recorder) Close() error                     { return nil }

// take returns what has come since the last call, each as one line.
func (r *recorder) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, notice := range r.got {
		lines = append(lines, usec.ReplaceAllString(strings.ReplaceAll(notice, "\n", " "), "MONOTONIC_USEC=N"))
	}
	r.got = nil
	return lines
}

var usec = regexp.MustCompile(`MONOTONIC_USEC=[0-9]+`)

func (r *recorder) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// told runs Notices to a recorder for as long as a test of them does.
func told(o NoticeOptions, test func(s *State, r *recorder)) {
	r := &recorder{}
	s := NewState()
	o.State, o.Log = s, slog.New(slog.DiscardHandler)
	if o.Open == nil {
		o.Open = func() int64 { return 0 }
	}
	n := NewNotices(o)
	n.dial = func() (net.Conn, error) { return r, nil }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	test(s, r)
	cancel()
	running.Wait()
	_ = n.Close()
}

func want(t *testing.T, when string, r *recorder, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", when, got, want)
	}
}

func TestNoticesFollowTheState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		told(NoticeOptions{Open: open.Load}, func(s *State, r *recorder) {
			want(t, "at first", r)
			s.Listening()
			want(t, "start", r, "READY=1 STATUS=listening: 0 connections open")
			time.Sleep(time.Minute)
			want(t, "nothing changes", r)
			open.Store(1)
			time.Sleep(time.Second)
			want(t, "a connection", r, "STATUS=listening: 1 connection open")
			s.Reloading()
			want(t, "reload", r, "RELOADING=1 MONOTONIC_USEC=N STATUS=reloading: 1 connection open")
			s.Reloaded(nil)
			want(t, "reloaded", r, "READY=1 STATUS=listening: 1 connection open; reloaded at 2000-01-01T00:01:01Z")
			s.Reloading()
			_ = r.take()
			s.Reloaded(errors.New("--key k:\nno PEM\x00 block"))
			want(t, "reload failed", r, "READY=1 STATUS=listening: 1 connection open; the reload at 2000-01-01T00:01:01Z failed: --key k: no PEM  block")
			s.Stopping(time.Now().Add(20 * time.Second))
			s.Reloading()
			s.Reloaded(nil)
			s.Listening()
			want(t, "drain", r, "STOPPING=1 EXTEND_TIMEOUT_USEC=15000000 STATUS=stopping: 1 connection open, until 2000-01-01T00:01:21Z at the latest")
			open.Store(0)
			time.Sleep(time.Second)
			want(t, "the last one ends", r, "STATUS=stopping: 0 connections open, until 2000-01-01T00:01:21Z at the latest")
		})
	})
}

// TestNoticesExtendADrainUpToItsLimit and no further: what a manager is asked to wait for ends soon after the deadline.
func TestNoticesExtendADrainUpToItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told(NoticeOptions{}, func(s *State, r *recorder) {
			s.Stopping(time.Now().Add(12 * time.Second))
			var got []string
			for at := range 60 {
				for _, notice := range r.take() {
					if _, by, ok := strings.Cut(notice, "EXTEND_TIMEOUT_USEC="); ok {
						by, _, _ = strings.Cut(by, " ")
						got = append(got, (time.Duration(at)*time.Second).String()+" "+by)
					}
				}
				time.Sleep(time.Second)
			}
			if want := []string{"0s 15000000", "5s 12000000", "10s 7000000", "15s 2000000"}; !slices.Equal(got, want) {
				t.Errorf("extensions %q, want %q", got, want)
			}
		})
	})
}

func TestNoticesComeAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		told(NoticeOptions{Open: func() int64 { return open.Add(1) }}, func(s *State, r *recorder) {
			s.Listening()
			_ = r.take()
			time.Sleep(10 * time.Second)
			if got := r.take(); len(got) != 10 {
				t.Errorf("%d notices in 10 seconds, want 10", len(got))
			}
		})
	})
}

func TestWatchdogIsToldWhileTheProcessIsAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		close(stuck)
		var mu sync.Mutex
		alive := func(ctx context.Context) error {
			mu.Lock()
			wait := stuck
			mu.Unlock()
			select {
			case <-wait:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		told(NoticeOptions{Watchdog: 4 * time.Second, Alive: alive}, func(s *State, r *recorder) {
			pings := func(in time.Duration) (n int) {
				time.Sleep(in)
				for _, notice := range r.take() {
					if notice == "WATCHDOG=1" {
						n++
					}
				}
				return n
			}
			if n := pings(20 * time.Second); n != 10 {
				t.Errorf("told %d times in 20 s, want every 2 s", n)
			}
			mu.Lock()
			stuck = make(chan struct{})
			mu.Unlock()
			if n := pings(20 * time.Second); n != 0 {
				t.Errorf("told %d times while nothing answers", n)
			}
			close(stuck)
			if n := pings(20 * time.Second); n < 9 {
				t.Errorf("told %d times in 20 s after it answers again", n)
			}
			s.Stopping(time.Now().Add(time.Minute))
			if n := pings(20 * time.Second); n != 10 {
				t.Errorf("told %d times in 20 s of a drain", n)
			}
		})
	})
}

func TestManagerThatHasGoneCostsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told(NoticeOptions{}, func(s *State, r *recorder) {
			r.setFail(errors.New("connection refused"))
			for range 2 * maxNotices {
				s.Reloading()
				s.Reloaded(nil)
			}
			s.Listening()
			want(t, "nobody", r)
			r.setFail(nil)
			s.Reloading()
			if got := r.take(); len(got) != 1 || !strings.HasPrefix(got[0], "RELOADING=1") {
				t.Errorf("to one that is back: %q", got)
			}
		})
	})
}

// TestNoticesReachASocket of either kind, and one that is made anew in the same place.
func TestNoticesReachASocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "n")
	for _, address := range []string{path, "@" + path} {
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
		if err != nil {
			t.Fatal(err)
		}
		next := func() string {
			buf := make([]byte, 4096)
			if err := manager.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			size, err := manager.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			return string(buf[:size])
		}
		n := NewNotices(NoticeOptions{Socket: address, State: NewState(), Open: func() int64 { return 0 }, Log: slog.New(slog.DiscardHandler)})
		n.send("READY=1")
		if got := next(); got != "READY=1" {
			t.Errorf("%s: got %q", address, got)
		}
		if err := manager.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(address); err != nil && address == path {
			t.Fatal(err)
		}
		n.send("LOST=1")
		manager, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
		if err != nil {
			t.Fatal(err)
		}
		n.send("STOPPING=1")
		if got := next(); got != "STOPPING=1" {
			t.Errorf("%s: got %q from the one that is back", address, got)
		}
		if err := errors.Join(n.Close(), n.Close(), manager.Close()); err != nil {
			t.Error(err)
		}
	}
}

// FuzzStatusLine has errors of any kind in a STATUS: it stays one line, of text that systemd takes.
func FuzzStatusLine(f *testing.F) {
	f.Add("listening", "--key k: no PEM block", int64(1))
	f.Add("stopping", "a\nREADY=1", int64(-1))
	f.Add("listening", strings.Repeat("ü", maxStatusBytes), int64(3))
	f.Fuzz(func(t *testing.T, message, failure string, open int64) {
		line := statusLine(moment{message: message, lastReload: time.Unix(1, 0), lastError: failure, deadline: time.Unix(2, 0)}, open)
		if strings.ContainsAny(line, "\n\r\x00") || len(line) > maxStatusBytes || strings.ToValidUTF8(line, "") != line {
			t.Errorf("%q", line)
		}
	})
}
