package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// errNoSource is how the kernel answers whoever connects to an address of IPv6 where IPv6 is off, as in most containers; and where
// all ports towards one target are in use.
var errNoSource = &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}

func TestFailoverIsWithinTheTimeOfOneDial(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	for _, test := range []struct {
		name    string
		silence time.Duration // of the first two, of three
		err     error
		limit   time.Duration
		within  time.Duration
	}{
		{"members that refuse", 0, errRefused, limit, 0},
		{"members that this machine has no address to reach from", 0, errNoSource, limit, 0},
		{"members that swallow packets", time.Hour, nil, limit, 7 * time.Second},
		{"the same in little time", time.Hour, nil, 300 * time.Millisecond, 250 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(Options{Balance: First}, 1, 1, 1)
				defer r.Close()
				for _, p := range r.places[:2] {
					p.silence, p.err = test.silence, test.err
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				started := time.Now()
				i, conn := r.connect(t, ctx)
				_ = conn.Close()
				if took := time.Since(started); i != 2 || took > test.within {
					t.Errorf("got to %d after %v, want 2 within %v", i, took, test.within)
				}
				for _, s := range r.States()[:2] {
					if !s.Ejected || s.Open != 0 || s.Ejections != 1 {
						t.Errorf("%+v, want it ejected once, with nothing open", s)
					}
				}
				// The next one knows.
				started = time.Now()
				_, conn = r.connect(t, ctx)
				_ = conn.Close()
				if took := time.Since(started); took != 0 {
					t.Errorf("the next connection took %v", took)
				}
			})
		})
	}
}

func TestNoTargetIsARefusalWithAReason(t *testing.T) {
	t.Parallel()
	r := newRig(Options{}, 1, 1)
	defer r.Close()
	for _, p := range r.places {
		p.answers(errRefused)
	}
	for range 2 { // all are ejected the second time, and tried all the same
		_, err := r.Dial(t.Context(), nil)
		var refusal *NoTargetError
		if !errors.As(err, &refusal) || refusal.Reason() != "no_target_up" {
			t.Fatalf("Dial: %v", err)
		}
		for _, want := range []string{"no target is up: ", "target a: connection refused", "target b: connection refused"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
		if errors.Is(err, errRefused) {
			t.Error("the refusal passes for what one of its attempts said")
		}
	}
	if n := r.state(t, "a").Failures["connection_refused"]; n != 2 {
		t.Errorf("%d failures are counted, want 2", n)
	}
	r.places[1].answers(nil)
	if _, conn := r.connect(t, t.Context()); conn.Close() != nil {
		t.Error("closing")
	}
}

// TestEjectionsGrowAndEnd: with each failure in a row a member is left alone for about twice as long, up to half a minute; then
// it gets one connection to try, and no more until that has an end.
func TestEjectionsGrowAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{}, 1, 1)
		defer r.Close()
		r.places[0].answers(errRefused)
		var pauses []time.Duration
		latest := time.Now()
		for len(pauses) < 9 {
			before := r.places[0].count()
			_, conn := r.connect(t, t.Context())
			_ = conn.Close()
			if r.places[0].count() > before {
				pauses = append(pauses, time.Since(latest).Round(100*time.Millisecond))
				latest = time.Now()
			}
			time.Sleep(50 * time.Millisecond)
		}
		want := minEjection / 2
		for i, pause := range pauses[1:] {
			if pause < want || pause > 2*want+200*time.Millisecond {
				t.Errorf("pause %d: %v, want %v to %v", i, pause, want, 2*want)
			}
			want = min(2*want, maxEjection/2)
		}
		// A trial that takes its time has others go elsewhere.
		time.Sleep(maxEjection)
		r.places[0].mu.Lock()
		r.places[0].silence, r.places[0].err = time.Minute, nil
		r.places[0].mu.Unlock()
		before := r.places[0].count()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 2 { // by turns one of them is sent to the first
				if conn, err := r.Dial(t.Context(), nil); err == nil {
					_ = conn.Close()
				}
			}
		}()
		synctest.Wait()
		for range 20 {
			_, conn := r.connect(t, t.Context())
			_ = conn.Close()
		}
		if n := r.places[0].count() - before; n != 1 {
			t.Errorf("%d connections are on trial at once, want 1", n)
		}
		<-done
		if s := r.state(t, "a"); s.Ejected || !s.Up {
			t.Errorf("after a connection that succeeded: %+v", s)
		}
		r.places[0].mu.Lock()
		r.places[0].silence = 0
		r.places[0].mu.Unlock()
		wantShares(t, "after it came back", r.shares(t, 1000), 1, 1)
		r.Close()
		for line, n := range map[string]int{`level=WARN msg="target ejected" target=a reason=connection_refused error="connection refused" retry_in=619.211595ms hint="what helps against connection_refused"`: 1, `msg="target takes connections again" target=a`: 1} {
			if got := strings.Count(r.log.String(), line); got != n {
				t.Errorf("%d lines with %s, want %d:\n%s", got, line, n, r.log)
			}
		}
	})
}

func TestPausesDifferFromOneGroupToTheNext(t *testing.T) {
	t.Parallel()
	pauses := func(seed uint64) []time.Duration {
		g := New(Options{Targets: []Target{new(place).target("a", 1)}, Seed: seed})
		defer g.Close()
		var all []time.Duration
		for row := range 100 {
			all = append(all, g.pauseLocked(row+1))
		}
		return all
	}
	if !slices.Equal(pauses(7), pauses(7)) {
		t.Error("the same seed makes other pauses")
	}
	if slices.Equal(pauses(7), pauses(8)) || slices.Equal(pauses(0), pauses(0)) {
		t.Error("groups have the same pauses, so that replicas come back all at once")
	}
}

func TestWhatIsNobodysFaultEjectsNobody(t *testing.T) {
	t.Parallel()
	final := errors.New("the client went away")
	for _, test := range []struct {
		name string
		dial func(*rig, *testing.T) error
		want error
	}{
		{"out of descriptors", func(r *rig, t *testing.T) error {
			r.places[0].answers(&net.OpError{Op: "dial", Err: syscall.EMFILE})
			_, err := r.Dial(t.Context(), nil)
			return err
		}, syscall.EMFILE},
		{"the caller gave up", func(r *rig, t *testing.T) error {
			r.places[0].silence = time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(io.ErrClosedPipe) })
			_, err := r.Dial(ctx, nil)
			return err
		}, context.Canceled},
		{"final", func(r *rig, t *testing.T) error {
			_, err := r.Dial(t.Context(), func(ctx context.Context, _ int, dial DialFunc) (net.Conn, error) {
				conn, err := dial(ctx)
				if err != nil {
					return nil, err
				}
				_ = conn.Close()
				return nil, Final(final)
			})
			return err
		}, final},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(Options{Balance: First}, 1, 1)
				defer r.Close()
				if err := test.dial(r, t); !errors.Is(err, test.want) || !strings.HasPrefix(err.Error(), "target a: ") {
					t.Errorf("Dial: %v, want %v", err, test.want)
				}
				if s := r.state(t, "a"); s.Ejected || s.Open != 0 || len(s.Failures) != 0 {
					t.Errorf("%+v", s)
				}
				if n := r.places[1].count(); n != 0 {
					t.Errorf("the next one was tried %d times", n)
				}
			})
		})
	}
}

// TestSocketsAreCounted: from before they are dialled until they are closed, once, whoever closes them.
func TestSocketsAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(Options{}, 1)
	defer r.Close()
	open := func(when string, want int) {
		t.Helper()
		if got := r.state(t, "a").Open; got != want {
			t.Errorf("%s: %d open, want %d", when, got, want)
		}
	}
	_, first := r.connect(t, t.Context())
	_, second := r.connect(t, t.Context())
	open("two sockets", 2)
	_ = first.Close()
	first.(interface{ Release() }).Release()
	open("one closed, and then released", 1)
	second.(interface{ Release() }).Release()
	_ = second.Close()
	open("both closed", 0)
	if second.(interface{ NetConn() net.Conn }).NetConn().(*placed).to != r.places[0] {
		t.Error("NetConn is not the socket")
	}

	// An attempt that dials twice, as one does that fails to resume a TLS session.
	conn, err := r.Dial(t.Context(), func(ctx context.Context, _ int, dial DialFunc) (net.Conn, error) {
		open("an attempt before its socket", 1)
		once, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		open("an attempt with its socket", 1)
		_ = once.Close()
		open("its socket closed", 0)
		return dial(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	open("its second socket", 1)
	_ = conn.Close()
	open("all closed", 0)
	if s := r.state(t, "a"); s.Total != 3 {
		t.Errorf("%d connections were made, want 3", s.Total)
	}
}

// Connections that were on their way when a member was ejected say nothing new when they fail: it comes back when it would have.
func TestOneOutageEjectsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{}, 1)
		defer r.Close()
		r.places[0].silence, r.places[0].err = time.Second, errRefused
		var dials sync.WaitGroup
		for range 50 {
			dials.Go(func() {
				if _, err := r.Dial(t.Context(), nil); err == nil {
					t.Error("somebody got through")
				}
			})
		}
		dials.Wait()
		if s := r.state(t, "a"); s.Ejections != 1 || s.Failures["connection_refused"] != 50 || s.Open != 0 {
			t.Errorf("%+v, want one ejection for 50 failures", s)
		}
		r.places[0].answers(nil)
		r.places[0].silence = 0
		time.Sleep(2 * time.Second) // twice what it took
		if s := r.state(t, "a"); s.Ejected {
			t.Errorf("%+v, want it back", s)
		}
		_, conn := r.connect(t, t.Context())
		_ = conn.Close()
	})
}

// Where all are ejected, whoever failed less is tried first.
func TestOfThoseEjectedTheOneThatComesBackFirstIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{Balance: First}, 1, 1)
		defer r.Close()
		r.places[0].answers(errRefused)
		for range 6 { // until it is left alone for long
			_, conn := r.connect(t, t.Context())
			_ = conn.Close()
			time.Sleep(maxEjection)
		}
		r.places[1].answers(errRefused)
		if _, err := r.Dial(t.Context(), nil); err == nil {
			t.Fatal("somebody got through")
		}
		r.places[0].answers(nil)
		r.places[1].answers(nil)
		if i, conn := r.connect(t, t.Context()); i != 1 || conn.Close() != nil {
			t.Errorf("got to %d, want 1", i)
		}
	})
}

// What counts a socket leaves it what it is: it can be half-closed, and waited for by the system.
func TestHeldSocketsAreSocketsStill(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}
	group := New(Options{Targets: []Target{{Name: "a", Dialer: func(netip.Addr) DialFunc { return dial }}}})
	defer group.Close()
	conn, err := group.Dial(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = there.Close() }()
	if _, err := conn.(syscall.Conn).SyscallConn(); err != nil {
		t.Error(err)
	}
	half := conn.(interface{ CloseWrite() error })
	if err := half.CloseWrite(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(there); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if s := group.States()[0]; s.Open != 1 {
		t.Errorf("%d count as open after one direction was closed", s.Open)
	}

	near, far := net.Pipe() // which can do neither
	defer func() { _ = far.Close() }()
	pipe := &held{Conn: near, lease: &lease{group: group, member: group.members[0]}}
	if _, err := pipe.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SyscallConn of a pipe: %v", err)
	}
	if err := pipe.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite of a pipe: %v", err)
	}
	_ = near.Close()
}
