package socket

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
)

// attemptDelay is how long an attempt to connect may stay without an answer
// before the next begins beside it (RFC 8305, section 5).
const attemptDelay = 250 * time.Millisecond

// byName connects to a host that has a name.
type byName struct {
	host, port string

	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)
}

func (b *byName) dial(ctx context.Context) (net.Conn, error) {
	ips, err := b.lookup(ctx, "ip", b.host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: networkTCP, Err: err} // as package net has it
	}
	for i, ip := range ips {
		ips[i] = ip.Unmap() // which is how a resolver may write IPv4
	}
	addresses := make([]string, len(ips))
	for i, ip := range alternating(ips) {
		addresses[i] = net.JoinHostPort(ip.String(), b.port)
	}
	if len(addresses) == 1 {
		return b.connect(ctx, networkTCP, addresses[0])
	}
	return b.race(ctx, addresses)
}

// race connects to one of several addresses by "Happy Eyeballs" (RFC 8305). An
// attempt begins when the one before it has failed, or has been silent for a
// while; the first that succeeds is the result, and ends the others. Package net
// does this between IPv6 and IPv4, and gives an address that swallows packets a
// share of the time, of two seconds and more, while the next of its kind waits.
//
// Every attempt begins well within the context's time.
func (b *byName) race(ctx context.Context, addresses []string) (net.Conn, error) {
	delay := attemptDelay
	if deadline, ok := ctx.Deadline(); ok {
		delay = min(delay, time.Until(deadline)/time.Duration(len(addresses)+1))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	results := make(chan outcome)
	failed := make(failures, 0, len(addresses))
	silence := time.NewTimer(delay)
	defer silence.Stop()
	begun := 0
	begin := func() {
		if begun == len(addresses) {
			return
		}
		go b.attempt(ctx, addresses[begun], results)
		begun++
		silence.Reset(delay)
	}
	begin()
	for len(failed) < begun {
		select {
		case <-silence.C:
			begin()
		case r := <-results:
			if r.err == nil {
				cancel()
				discard(results, begun-len(failed)-1)
				return r.conn, nil
			}
			failed = append(failed, r.err)
			begin()
		}
	}
	return nil, failed
}

// outcome is what an attempt came to.
type outcome struct {
	conn net.Conn
	err  error
}

// attempt is one goroutine of a race, which takes its result.
func (b *byName) attempt(ctx context.Context, address string, results chan<- outcome) {
	conn, err := b.connect(ctx, networkTCP, address)
	results <- outcome{conn, err}
}

// discard waits for the attempts that have lost a race and are cancelled.
func discard(results <-chan outcome, n int) {
	for range n {
		if r := <-results; r.err == nil {
			r.conn.Close()
		}
	}
}

// alternating puts addresses of the two IP versions by turns, beginning with
// that of the first, which the resolver prefers (RFC 8305, section 4).
func alternating(ips []netip.Addr) []netip.Addr {
	var kinds [2][]netip.Addr
	for _, ip := range ips {
		kind := 0
		if ip.Is4() != ips[0].Is4() {
			kind = 1
		}
		kinds[kind] = append(kinds[kind], ip)
	}
	var mixed []netip.Addr
	for i := range ips {
		for _, kind := range kinds {
			if i < len(kind) {
				mixed = append(mixed, kind[i])
			}
		}
	}
	return mixed
}

// failures are the errors of a race that nobody won, on one line.
type failures []error

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (f failures) Unwrap() []error { return f }
