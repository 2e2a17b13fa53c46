package upstream

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// zone is what DNS says about one name.
type zone struct {
	mu        sync.Mutex
	addresses []netip.Addr
	err       error
	asked     []time.Time
	silence   time.Duration
}

func (z *zone) says(err error, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.err, z.addresses = err, nil
	for _, a := range addresses {
		z.addresses = append(z.addresses, netip.MustParseAddr(a))
	}
}

func (z *zone) lookUp(ctx context.Context) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = append(z.asked, time.Now())
	if z.silence > 0 {
		select {
		case <-time.After(z.silence):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return slices.Clone(z.addresses), z.err
}

// named is a group of one name and one place beside it.
func named(z *zone, o Options) (r *rig, at *sync.Map) {
	at = new(sync.Map)
	name := Target{Name: "db:80", Weight: 2, Lookup: z.lookUp, Dialer: func(ip netip.Addr) DialFunc {
		p, _ := at.LoadOrStore(ip.String(), new(place))
		return p.(*place).dial
	}}
	o.Targets = append(o.Targets, name)
	return newRig(o), at
}

// names are those of all members.
func (r *rig) names() []string {
	var names []string
	for _, s := range r.States() {
		names = append(names, s.Name)
	}
	return names
}

var errNXDOMAIN = errors.New("no such host")

func TestNamesAreFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Second
		z := new(zone)
		z.says(nil, "10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1")
		r, at := named(z, Options{ResolveInterval: every})
		defer r.Close()
		want := func(when string, names ...string) {
			t.Helper()
			synctest.Wait()
			if got := r.names(); !slices.Equal(got, names) {
				t.Errorf("%s: members %v, want %v", when, got, names)
			}
		}
		want("at first", "db:80/10.0.0.1", "db:80/10.0.0.2")
		var kept []interface{ Close() error }
		for range 2 {
			conn, err := r.Dial(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, conn)
		}

		z.says(nil, "10.0.0.3", "10.0.0.2")
		time.Sleep(every)
		want("after an answer that differs", "db:80/10.0.0.2", "db:80/10.0.0.3")
		old, _ := at.Load("10.0.0.1")
		before := old.(*place).count()
		for range 10 {
			conn, err := r.Dial(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}
		if n := old.(*place).count(); n != before {
			t.Errorf("%d connections went to an address that is gone", n-before)
		}
		if s := r.state(t, "db:80/10.0.0.2"); s.Total != 1+5 || s.Open != 1 || s.Weight != 2 {
			t.Errorf("what has stayed: %+v, want it to go on where it was", s)
		}
		for _, conn := range kept {
			_ = conn.Close()
		}

		for _, nothing := range []error{errNXDOMAIN, nil} {
			z.says(nothing)
			time.Sleep(every)
			want("after an answer without an address", "db:80/10.0.0.2", "db:80/10.0.0.3")
		}
		z.says(nil, "10.0.0.9")
		time.Sleep(every)
		want("after the name is back", "db:80/10.0.0.9")
		r.Close()
		for _, line := range []string{
			`level=WARN msg="target's name does not resolve; its last addresses stay in use" target=db:80 error="no such host" addresses=2`,
			`level=INFO msg="target's name resolves again" target=db:80`,
			`msg="target lost an address" target=db:80 address=10.0.0.1`,
			`msg="target has a new address" target=db:80 address=10.0.0.3`,
		} {
			if strings.Count(r.log.String(), line) != 1 {
				t.Errorf("want one line with %s:\n%s", line, r.log)
			}
		}
	})
}

func TestConnectionsWaitForTheFirstLookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := &zone{silence: time.Second}
		z.says(nil, "10.0.0.1")
		r, _ := named(z, Options{})
		defer r.Close()
		brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := r.Dial(brief, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial for a moment: %v", err)
		}
		conn, err := r.Dial(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	})
}

// TestANameThatNeverResolvedIsAskedForSooner than at the interval, and is a refusal until then.
func TestANameThatNeverResolvedIsAskedForSooner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := new(zone)
		z.says(errNXDOMAIN)
		r, _ := named(z, Options{ResolveInterval: time.Hour})
		defer r.Close()
		_, err := r.Dial(t.Context(), nil)
		if err == nil || err.Error() != "no target is up: target db:80: no such host" {
			t.Errorf("Dial: %v", err)
		}
		if err := r.Check(t.Context()); err == nil || err.Error() != "no target is up: target db:80: no such host" {
			t.Errorf("Check: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		z.mu.Lock()
		asked := len(z.asked)
		z.mu.Unlock()
		if asked < 5 || asked > 10 {
			t.Errorf("asked %d times in a minute, want a few", asked)
		}
		z.says(nil, "10.0.0.1")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if conn, err := r.Dial(t.Context(), nil); err != nil {
			t.Error(err)
		} else {
			_ = conn.Close()
		}
	})
}

func TestANameHasNoMoreMembersThanThereMayBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := new(zone)
		for ip := netip.MustParseAddr("10.0.0.1"); len(z.addresses) < 2*maxAddresses; ip = ip.Next() {
			z.addresses = append(z.addresses, ip)
		}
		r, _ := named(z, Options{})
		defer r.Close()
		if conn, err := r.Dial(t.Context(), nil); err != nil {
			t.Error(err)
		} else {
			_ = conn.Close()
		}
		before := r.names()
		if len(before) != maxAddresses {
			t.Errorf("%d members, want %d", len(before), maxAddresses)
		}
		z.mu.Lock()
		slices.Reverse(z.addresses) // DNS says the same in another order
		z.mu.Unlock()
		time.Sleep(2 * defaultResolveInterval)
		synctest.Wait()
		if after := r.names(); !slices.Equal(after, before) {
			t.Errorf("other members, of the same addresses: %v and then %v", before, after)
		}
	})
}

func TestAMemberThatIsGoneIsCheckedNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := new(zone)
		z.says(nil, "10.0.0.1")
		r, at := named(z, Options{ResolveInterval: 10 * time.Second, HealthInterval: time.Second})
		defer r.Close()
		time.Sleep(5 * time.Second)
		z.says(nil, "10.0.0.2")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		gone, _ := at.Load("10.0.0.1")
		before := gone.(*place).count()
		time.Sleep(time.Minute)
		if n := gone.(*place).count(); n != before || before == 0 {
			t.Errorf("checked %d times while it was there, and %d times after", before, n-before)
		}
	})
}

func TestANameThatDoesNotResolveForLongIsAskedForNoMoreOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := new(zone)
		z.says(errNXDOMAIN)
		r, _ := named(z, Options{})
		time.Sleep(time.Hour)
		r.Close()
		z.mu.Lock()
		defer z.mu.Unlock()
		if most := int(time.Hour/defaultResolveInterval) + 10; len(z.asked) > most {
			t.Errorf("asked %d times in an hour, and %d are enough", len(z.asked), most)
		}
	})
}
