package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is somewhere to connect to, which can be told how to answer.
type place struct {
	mu       sync.Mutex
	err      error         // what dialling it ends with; nil: a connection
	silence  time.Duration // how long it takes to answer
	dialled  int
	pipes    []net.Conn
	examined int // health checks
}

func (p *place) answers(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *place) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialled
}

func (p *place) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	p.dialled++
	err, silence := p.err, p.silence
	p.mu.Unlock()
	if silence > 0 {
		select {
		case <-time.After(silence):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pipes = append(p.pipes, there)
	return &placed{here, p}, nil
}

// placed is a connection that knows where it leads.
type placed struct {
	net.Conn
	to *place
}

// check is a health check of the place.
func (p *place) check(context.Context, DialFunc) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.examined++
	return p.err
}

// target makes a target of the place.
func (p *place) target(name string, weight int) Target {
	return Target{Name: name, Weight: weight, Dialer: func(netip.Addr) DialFunc { return p.dial }, Check: p.check}
}

// rig is a group of places with names a, b, c … and the weights given.
type rig struct {
	*Group
	places []*place
	log    *bytes.Buffer // to be read after Close
}

// newRig makes a group that ends with the test, or before it in a bubble.
func newRig(o Options, weights ...int) *rig {
	r := &rig{log: new(bytes.Buffer)}
	for i, weight := range weights {
		p := new(place)
		r.places = append(r.places, p)
		o.Targets = append(o.Targets, p.target(string(rune('a'+i)), weight))
	}
	o.Reason = func(err error) string { return strings.ReplaceAll(err.Error(), " ", "_") }
	o.Hint = func(reason string) string { return "what helps against " + reason }
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Seed = 1
	r.Group = New(o)
	return r
}

// connect connects, and tells to which place by its index.
func (r *rig) connect(t *testing.T, ctx context.Context) (int, net.Conn) { //nolint:revive // the test comes first, as everywhere
	t.Helper()
	conn, err := r.Dial(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.where(conn), conn
}

// where is the index of the place that a connection leads to.
func (r *rig) where(conn net.Conn) int {
	for i, p := range r.places {
		if conn.(*held).Conn.(*placed).to == p {
			return i
		}
	}
	return -1
}

// shares connects so many times and tells how often each place was chosen. Connections are closed at once.
func (r *rig) shares(t *testing.T, n int) []int {
	t.Helper()
	shares := make([]int, len(r.places))
	for range n {
		i, conn := r.connect(t, t.Context())
		shares[i]++
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return shares
}

// state is that of one member.
func (r *rig) state(t *testing.T, name string) State {
	t.Helper()
	for _, s := range r.States() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no member %s", name)
	return State{}
}

var errRefused = errors.New("connection refused")

// clientAt is the address of a client.
func clientAt(random *rand.Rand) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))), Port: 1 + random.IntN(65000)}
}

// wantShares compares what was chosen with shares of the whole, of which each may differ by a tenth.
func wantShares(t *testing.T, what string, got []int, weights ...float64) {
	t.Helper()
	n, sum := 0, 0.0
	for i := range got {
		n += got[i]
		sum += weights[i]
	}
	for i := range got {
		want := float64(n) * weights[i] / sum
		if float64(got[i]) < want*0.9 || float64(got[i]) > want*1.1 {
			t.Errorf("%s: shares %v, want them as %v", what, got, fmt.Sprint(weights))
			return
		}
	}
}
