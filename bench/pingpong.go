package main

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pingSize is how large a request is, and its answer.
const pingSize = 1 << 10

// pingPong measures requests, each made as soon as the one before it is answered, on so many connections; in a crowd, beside
// others that are idle.
func pingPong(connections int, crowd bool) func(context.Context, *site, measure) (sample, error) {
	return func(ctx context.Context, s *site, m measure) (sample, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if crowd {
			if err := hold(ctx, s, m.conns, pingSize); err != nil {
				return sample{}, err
			}
		}
		var answered atomic.Int64
		stop := make(chan struct{})
		group, ctx := errgroup.WithContext(ctx)
		for range connections {
			group.Go(func() error {
				conn, err := s.dial(ctx, s.certs.clientConfig())
				if err != nil {
					return err
				}
				defer during(ctx, conn)()
				asked := order(askEcho, 0)
				for n := int64(0); ; n += pingSize {
					select {
					case <-stop:
						return nil
					default:
					}
					if err := echo(conn, asked, noiseAt(n, pingSize)); err != nil {
						return err
					}
					asked = nil
					answered.Add(1)
				}
			})
		}
		took, err := s.cost(ctx, m.time, answered.Load)
		close(stop)
		if ended := group.Wait(); ended != nil {
			return sample{}, ended
		}
		return sample{value: float64(took.spent) / float64(time.Microsecond) / float64(took.amount)}, err
	}
}
