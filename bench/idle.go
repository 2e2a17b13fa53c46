package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// idle measures the memory that connections take which have sent so many bytes there and back and now wait. What the process
// needs to have had a connection at all is not counted.
func idle(size int) func(context.Context, *site, measure) (sample, error) {
	return func(ctx context.Context, s *site, m measure) (sample, error) {
		first, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := hold(first, s, openers, size); err != nil {
			return sample{}, err
		}
		cancel()
		before, err := restingMemory(ctx, s, m.rest)
		if err != nil {
			return sample{}, err
		}
		held, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := hold(held, s, m.conns, size); err != nil {
			return sample{}, err
		}
		after, err := restingMemory(ctx, s, m.rest)
		return sample{value: float64(after-before) / 1024 / float64(m.conns)}, err
	}
}

// hold opens so many connections, which are closed when the context ends, and sends noise there and back on each.
func hold(ctx context.Context, s *site, connections, size int) error {
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(openers)
	for range connections {
		group.Go(func() error {
			conn, err := s.dial(opening, s.certs.clientConfig())
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(patience))
			if err := echo(conn, order(askEcho, 0), noiseAt(0, size)); err != nil {
				return err
			}
			return conn.SetDeadline(time.Time{})
		})
	}
	return group.Wait()
}

// A contestant may need a while to let go of what it needed for the work alone.
const (
	restingLimit = 10 * time.Second       // after which its memory is taken as it is
	restingLook  = 100 * time.Millisecond // between two looks at it
)

// restingMemory waits until the contestant's memory has not changed by a hundredth for some time, and returns how much it is.
func restingMemory(ctx context.Context, s *site, rest time.Duration) (int64, error) {
	var last int64
	began := time.Now()
	for since := began; time.Since(since) < rest && time.Since(began) < restingLimit; {
		if err := pause(ctx, restingLook); err != nil {
			return 0, err
		}
		now, err := s.memory()
		if err != nil {
			return 0, err
		}
		if change := max(now-last, last-now); change > now/100 {
			since, last = time.Now(), now
		}
	}
	return last, nil
}
