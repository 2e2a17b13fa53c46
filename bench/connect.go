package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// openers is how many clients open connections at a time.
const openers = 8

// errNotResumed is a full handshake where none was needed.
var errNotResumed = errors.New("never resumes")

// connect measures connections that are opened, sent a byte there and back, and closed. The groups are those of clients that
// speak TLS. Resumed are all but the first connections of each opener.
func connect(groups []tls.CurveID, resumed bool) func(context.Context, *site, measure) (sample, error) {
	return func(ctx context.Context, s *site, m measure) (sample, error) {
		var opened atomic.Int64
		stop := make(chan struct{})
		group, ctx := errgroup.WithContext(ctx)
		for range openers {
			config := s.certs.clientConfig()
			config.CurvePreferences = groups
			if resumed {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			group.Go(func() error {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return nil
					default:
					}
					conn, err := s.dial(ctx, config)
					if err != nil {
						return err
					}
					if err := greet(ctx, conn, resumed && n > 0); err != nil {
						return err
					}
					opened.Add(1)
				}
			})
		}
		took, err := s.cost(ctx, m.time, opened.Load)
		close(stop)
		ended := group.Wait()
		if errors.Is(ended, errNotResumed) {
			return sample{fault: ended.Error()}, nil
		}
		if ended != nil {
			return sample{}, ended
		}
		result := sample{value: took.spent.Seconds() * 1e3 / float64(took.amount)}
		if s.backend.tls != nil && s.backend.resumed.Load() == 0 {
			result.note = errNotResumed.Error()
		}
		return result, err
	}
}

// greet has a byte sent back over a new connection, and closes it.
func greet(ctx context.Context, conn stream, resumed bool) error {
	defer during(ctx, conn)()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if session, ok := conn.(*tls.Conn); ok && session.ConnectionState().DidResume != resumed {
		if resumed {
			return errNotResumed
		}
		return errors.New("resumed what should be new")
	}
	return echo(conn, order(askEcho, 0), []byte{'!'})
}

// echo sends bytes, no more of them than there is room for on the way (64 KiB), and compares what comes back. What precedes
// them is what the target is asked first, which it keeps.
func echo(conn stream, asked, ball []byte) error {
	back := make([]byte, len(ball))
	all := ball
	if len(asked) > 0 {
		all = append(asked, ball...)
	}
	if _, err := conn.Write(all); err != nil {
		return fmt.Errorf("sending to be echoed: %w", err)
	}
	if _, err := io.ReadFull(conn, back); err != nil {
		return fmt.Errorf("an echo: %w", err)
	}
	if !bytes.Equal(back, ball) {
		return errGarbled
	}
	return nil
}
