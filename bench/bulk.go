package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// bulkConnections is how many streams there are at a time.
const bulkConnections = 8

// errShort is that some of what was sent has not arrived.
var errShort = errors.New("loses data")

func bulkUp(ctx context.Context, s *site, m measure) (sample, error) { return bulk(ctx, s, m, upload) }
func bulkDown(ctx context.Context, s *site, m measure) (sample, error) {
	return bulk(ctx, s, m, download)
}

// bulk measures streams of noise. In the end each sender ends its half of the connection, with all that the contestant has not
// passed on still on its way.
func bulk(ctx context.Context, s *site, m measure, move func(stream, *transfer) error) (sample, error) {
	all := make([]*transfer, bulkConnections)
	for i := range all {
		all[i] = s.backend.newTransfer()
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range all {
		group.Go(func() error {
			conn, err := s.dial(ctx, s.certs.clientConfig())
			if err != nil {
				return err
			}
			defer during(ctx, conn)()
			return move(conn, t)
		})
	}
	took, err := s.cost(ctx, m.time, func() int64 {
		var sum int64
		for _, t := range all {
			sum += t.received.Load()
		}
		return sum
	})
	for _, t := range all {
		close(t.stop)
	}
	ended := group.Wait()
	if err != nil {
		return sample{}, cmp.Or(ended, err) // the one because of the other
	}
	result := sample{value: took.spent.Seconds() / (float64(took.amount) / 1e9), busy: took.spent.Seconds() / took.over.Seconds()}
	if errors.Is(ended, errShort) {
		result.fault = ended.Error()
		return result, nil
	}
	return result, ended
}

// upload sends noise until it is told to stop, ends its half, and waits for the target to say how much arrived.
func upload(conn stream, t *transfer) error {
	if _, err := conn.Write(order(askSink, t.id)); err != nil {
		return err
	}
	if err := send(conn, t.stop, &t.sent); err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := conn.CloseWrite(); err != nil {
		return fmt.Errorf("%w on half-close: %w", errShort, err)
	}
	answer := make([]byte, 8)
	_, err := io.ReadFull(conn, answer)
	if missing := t.sent.Load() - t.received.Load(); missing > 0 {
		return fmt.Errorf("%w on half-close, %d KiB of %d", errShort, missing>>10, t.sent.Load()>>10)
	}
	if err != nil {
		return fmt.Errorf("%w on half-close: the answer to all that was sent", errShort)
	}
	if said := binary.BigEndian.Uint64(answer); said != uint64(t.sent.Load()) {
		return errGarbled
	}
	return nil
}

// download takes noise until the target ends its half.
func download(conn stream, t *transfer) error {
	if _, err := conn.Write(order(askFlow, t.id)); err != nil {
		return err
	}
	err := receive(conn, &t.received)
	select {
	case <-t.stop:
	default:
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if errors.Is(err, errGarbled) {
		return err
	}
	if missing := t.sent.Load() - t.received.Load(); err != nil || missing > 0 {
		return fmt.Errorf("%w on half-close, %d KiB of %d", errShort, missing>>10, t.sent.Load()>>10)
	}
	return nil
}
