package upstream

import (
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRoundRobinIsExact for any weights: in as many turns as they sum up to, each member comes as often as its weight says, and
// none waits longer than it has to.
func TestRoundRobinIsExact(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		weights := make([]int, 1+random.IntN(8))
		sum := 0
		for i := range weights {
			weights[i] = 1 + random.IntN(10)
			sum += weights[i]
		}
		r := newRig(Options{}, weights...)
		for range 3 {
			if got := r.shares(t, sum); !slices.Equal(got, weights) {
				t.Fatalf("shares %v of %d turns, want %v", got, sum, weights)
			}
		}
		r.Close()
	}
}

func TestRoundRobinSpreadsTheTurnsOfAHeavyMember(t *testing.T) {
	t.Parallel()
	r := newRig(Options{}, 4, 1, 1)
	defer r.Close()
	row, longest := 0, 0
	for range 60 {
		i, conn := r.connect(t, t.Context())
		if row++; i != 0 {
			row = 0
		}
		longest = max(longest, row)
		_ = conn.Close()
	}
	if longest > 3 {
		t.Errorf("the heavy member had %d turns in a row", longest)
	}
}

func TestLeastConnFillsUpWhatHasLess(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	r := newRig(Options{Balance: LeastConn}, 1, 2, 3)
	defer r.Close()
	var open []net.Conn
	for range 3000 { // connections come and go, and end wherever they are
		if len(open) > 0 && random.IntN(3) == 0 {
			i := random.IntN(len(open))
			_ = open[i].Close()
			open = slices.Delete(open, i, i+1)
			continue
		}
		_, conn := r.connect(t, t.Context())
		open = append(open, conn)
	}
	var have []int
	for _, s := range r.States() {
		have = append(have, s.Open)
	}
	wantShares(t, "open connections", have, 1, 2, 3)
	for _, conn := range open {
		_ = conn.Close()
	}
	for _, s := range r.States() {
		if s.Open != 0 {
			t.Errorf("%s: %d connections are open after all were closed", s.Name, s.Open)
		}
	}
}

func TestLeastConnTakesTurnsWhereNoneHasAny(t *testing.T) {
	t.Parallel()
	r := newRig(Options{Balance: LeastConn}, 1, 1, 1)
	defer r.Close()
	if got := r.shares(t, 300); !slices.Equal(got, []int{100, 100, 100}) {
		t.Errorf("shares %v of members that are all idle, want them equal", got)
	}
}

func TestFirstKeepsTheOthersForLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{Balance: First}, 1, 1, 1)
		defer r.Close()
		want := func(when string, shares ...int) {
			t.Helper()
			if got := r.shares(t, 10); !slices.Equal(got, shares) {
				t.Errorf("%s: shares %v, want %v", when, got, shares)
			}
		}
		want("at first", 10, 0, 0)
		r.places[0].answers(errRefused)
		want("without the first", 0, 10, 0)
		r.places[1].answers(errRefused)
		want("without the second", 0, 0, 10)
		r.places[0].answers(nil)
		time.Sleep(2 * minEjection)
		want("with the first again", 10, 0, 0)
	})
}

// TestSourceIsSteady: a client has its member, whatever its port; and when a member goes, its clients alone have another.
func TestSourceIsSteady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{Balance: Source}, 1, 2, 3)
		defer r.Close()
		random := rand.New(rand.NewPCG(5, 6))
		clients := make([]net.Addr, 6000)
		for i := range clients {
			clients[i] = clientAt(random)
		}
		ask := func() []int {
			chosen := make([]int, len(clients))
			for i, client := range clients {
				at := &net.TCPAddr{IP: client.(*net.TCPAddr).IP, Port: 1 + random.IntN(65000)}
				var conn net.Conn
				chosen[i], conn = r.connect(t, WithSource(t.Context(), at))
				_ = conn.Close()
			}
			return chosen
		}
		first := ask()
		shares := make([]int, 3)
		for _, i := range first {
			shares[i]++
		}
		wantShares(t, "clients", shares, 1, 2, 3)
		if second := ask(); !slices.Equal(first, second) {
			t.Error("some clients went elsewhere although nothing has changed")
		}
		r.places[1].answers(errRefused)
		without := ask()
		for i := range clients {
			if first[i] != 1 && without[i] != first[i] {
				t.Fatalf("a client of %d went to %d because 1 was away", first[i], without[i])
			}
		}
		r.places[1].answers(nil)
		time.Sleep(2 * maxEjection)
		if again := ask(); !slices.Equal(first, again) {
			t.Error("not all clients of a member that came back went back to it")
		}
	})
}

func TestSourceTakesTurnsForClientsWithoutAnAddress(t *testing.T) {
	t.Parallel()
	r := newRig(Options{Balance: Source}, 1, 1)
	defer r.Close()
	if got := r.shares(t, 100); !slices.Equal(got, []int{50, 50}) {
		t.Errorf("shares %v, want them equal", got)
	}
	ctx := WithSource(t.Context(), &net.UnixAddr{Name: "@", Net: "unix"})
	for want := range 2 {
		if got, conn := r.connect(t, ctx); got != want {
			t.Errorf("got to %d, want %d", got, want)
		} else {
			_ = conn.Close()
		}
	}
}

func TestSlowStartGivesWhoeverComesBackItsShareLittleByLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Options{SlowStart: 10 * time.Second, HealthInterval: time.Second}, 1, 1)
		defer r.Close()
		synctest.Wait()
		wantShares(t, "at the start", r.shares(t, 1000), 1, 1)
		r.places[0].answers(errRefused)
		time.Sleep(2 * time.Second)
		r.places[0].answers(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.shares(t, 1000); got[0] < 50 || got[0] > 200 {
			t.Errorf("shares %v right after it came back, want about a tenth", got)
		}
		time.Sleep(5 * time.Second)
		if got := r.shares(t, 1000); got[0] < 300 || got[0] > 400 {
			t.Errorf("shares %v half way, want about a half", got)
		}
		time.Sleep(5 * time.Second)
		wantShares(t, "after that", r.shares(t, 1000), 1, 1)
	})
}
