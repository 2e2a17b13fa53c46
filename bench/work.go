package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/devpki"
)

// A row is one kind of work.
type row struct {
	name  string
	what  string // for people
	unit  string // of what it costs
	mode  mode
	keys  devpki.KeyKind
	fresh bool // a process does this but once: what it has had stays in its memory
	floor bool // a relay without TLS can do it, too

	run func(context.Context, *site, measure) (sample, error)
}

// A measure is how much of the work is done.
type measure struct {
	time  time.Duration // how long it is measured
	conns int           // how many connections are held, where the work is to hold them
	rest  time.Duration // for how long memory must not have changed, where that is measured
	cpu   int           // of the load; see moveTo
}

// A sample is what one contestant did in one round.
type sample struct {
	value float64 // in the row's unit
	fault string  // what it did wrong, if it did
	note  string  // what else is worth knowing of it
	busy  float64 // how much of its processor it took, where that is to be all; else 0
}

// remarks are all that there is to say beside the value.
func (s sample) remarks() string {
	var all []string
	if s.busy > 0 {
		all = append(all, fmt.Sprintf("%.0f %% busy", 100*s.busy))
	}
	if s.note != "" {
		all = append(all, s.note)
	}
	if s.fault != "" {
		all = append(all, s.fault)
	}
	return strings.Join(all, ", ")
}

// defaultGroups and x25519 are the key exchanges a client offers: all that crypto/tls has, which ML-KEM is one of, or one.
var x25519, defaultGroups = []tls.CurveID{tls.X25519}, []tls.CurveID(nil)

// rows are all that there are.
var rows = []row{
	{name: "bulk-up", what: "bulk, client to target, 8 connections", unit: "CPU-s/GB", floor: true, run: bulkUp},
	{name: "bulk-down", what: "bulk, target to client, 8 connections", unit: "CPU-s/GB", floor: true, run: bulkDown},
	{name: "connect", what: "full handshake, ECDSA P-256, X25519", unit: "CPU-ms/connection", floor: true, run: connect(x25519, false)},
	{name: "connect-groups", what: "the same with Go's default groups (ML-KEM)", unit: "CPU-ms/connection", run: connect(defaultGroups, false)},
	{name: "connect-rsa", what: "full handshake, RSA-2048", unit: "CPU-ms/connection", keys: devpki.RSA2048, run: connect(x25519, false)},
	{name: "resume", what: "resumed", unit: "CPU-ms/connection", run: connect(x25519, true)},
	{name: "pingpong-1", what: "1 KiB ping-pong, 1 connection", unit: "CPU-µs/request", floor: true, run: pingPong(1, false)},
	{name: "pingpong-64", what: "1 KiB ping-pong, 64 connections", unit: "CPU-µs/request", floor: true, run: pingPong(64, false)},
	{name: "pingpong-crowd", what: "the same, beside idle connections (-conns)", unit: "CPU-µs/request", floor: true, run: pingPong(64, true)},
	{name: "client-up", what: "client mode, bulk up, 8 connections", unit: "CPU-s/GB", mode: clientMode, run: bulkUp},
	{name: "client-down", what: "client mode, bulk down, 8 connections", unit: "CPU-s/GB", mode: clientMode, run: bulkDown},
	{name: "client-connect", what: "client mode, new connections", unit: "CPU-ms/connection", mode: clientMode, run: connect(nil, false)},
	{name: "pair-up", what: "client + server pair, bulk up", unit: "CPU-s/GB", mode: pairMode, run: bulkUp},
	{name: "pair-down", what: "client + server pair, bulk down", unit: "CPU-s/GB", mode: pairMode, run: bulkDown},
	{name: "pair-connect", what: "client + server pair, new connections", unit: "CPU-ms/connection", mode: pairMode, run: connect(nil, false)},
	{name: "idle-64", what: "idle connection after a 64-byte echo", unit: "KiB", fresh: true, run: idle(64)},
	{name: "idle-64k", what: "idle connection after a 64 KiB echo", unit: "KiB", fresh: true, run: idle(64 << 10)},
	{name: "storm", what: "p99 of 8 live connections while 64 others open and close", unit: "ms", run: storm},
}

// settle is how long work goes on before it is measured.
const settle = 200 * time.Millisecond

// A cost is what work took while it was measured.
type cost struct {
	spent  time.Duration // how long the contestant computed
	over   time.Duration // how long that was watched
	amount int64         // how much of the work was done
}

// cost lets work go on for a while, and returns what it took meanwhile. On a busy machine a while may be too short for
// anything; it then takes as many as there have to be, up to patience.
func (s *site) cost(ctx context.Context, d time.Duration, done func() int64) (cost, error) {
	if err := pause(ctx, settle); err != nil {
		return cost{}, err
	}
	first, err := s.read(done)
	if err != nil {
		return cost{}, err
	}
	for {
		if err := pause(ctx, d); err != nil {
			return cost{}, err
		}
		last, err := s.read(done)
		if err != nil {
			return cost{}, err
		}
		c := cost{spent: last.spent - first.spent, over: last.at.Sub(first.at), amount: last.done - first.done}
		if c.amount > 0 {
			return c, nil
		}
		if c.over >= patience {
			return cost{}, errNothingDone
		}
	}
}

// A reading is how far the contestant has come.
type reading struct {
	at    time.Time
	spent time.Duration
	done  int64
}

// read takes a reading. To find the processes takes a while, in which they go on; so that comes first.
func (s *site) read(done func() int64) (reading, error) {
	all, err := s.pids()
	if err != nil {
		return reading{}, err
	}
	var r reading
	for _, pid := range all {
		one, err := processorTime(pid)
		if err != nil {
			return reading{}, err
		}
		r.spent += one
	}
	r.at, r.done = time.Now(), done()
	return r, nil
}

var errNothingDone = errors.New("nothing was done")

// pause waits so long, or until the context ends, whose cause is then the error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
