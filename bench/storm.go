package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	liveConnections = 8
	livePace        = 5 * time.Millisecond // between the requests of one
	stormClients    = 64
)

// storm measures how long the slowest hundredth of requests takes on a few connections while others are opened and closed as
// fast as can be. Whoever opens them is another process, behind this one on its processor, so that it is not this one's own
// load that is measured.
func storm(ctx context.Context, s *site, m measure) (_ sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	others := exec.Command(self)
	others.Env = append(os.Environ(), playOrder{Part: "storm", Target: s.address, Certs: s.certs.dir}.env()...)
	others.Stderr = os.Stderr
	calm, err := others.StdinPipe()
	if err != nil {
		return sample{}, err
	}
	said, err := others.StdoutPipe()
	if err != nil {
		return sample{}, err
	}
	if err := startOn(m.cpu, others); err != nil {
		return sample{}, err
	}
	defer func() {
		if err == nil {
			err = others.Wait()
			return
		}
		_, _ = killGroup(others.Process), others.Wait() // the first error counts
	}()
	lines := bufio.NewReader(said)
	if _, err := lines.ReadString('\n'); err != nil { // the first connection has been opened
		return sample{}, fmt.Errorf("those who open connections: %w", err)
	}
	began := time.Now()
	took, err := live(ctx, s, settle+m.time)
	if err != nil {
		return sample{}, err
	}
	_ = calm.Close()
	count, err := lines.ReadString('\n')
	if err != nil {
		return sample{}, fmt.Errorf("those who open connections: %w", err)
	}
	opened, err := strconv.Atoi(strings.TrimSpace(count))
	if err == nil && (opened == 0 || len(took) == 0) {
		err = errNothingDone
	}
	if err != nil {
		return sample{}, err
	}
	slices.Sort(took)
	return sample{
		value: float64(took[len(took)*99/100]) / float64(time.Millisecond),
		note:  fmt.Sprintf("%.0f opened/s", float64(opened)/time.Since(began).Seconds()),
	}, nil
}

// live makes requests for a while on a few connections, at a pace, and returns how long each took from when it was due: from
// when it was made would hide a stall, as whoever waits for one answer makes no other request.
func live(ctx context.Context, s *site, d time.Duration) ([]time.Duration, error) {
	took := make([][]time.Duration, liveConnections)
	group, ctx := errgroup.WithContext(ctx)
	for i := range took {
		group.Go(func() error {
			conn, err := s.dial(ctx, s.certs.clientConfig())
			if err != nil {
				return err
			}
			defer during(ctx, conn)()
			asked := order(askEcho, 0)
			began := time.Now()
			for due := began; due.Sub(began) < d; due = due.Add(livePace) {
				if err := pause(ctx, time.Until(due)); err != nil {
					return err
				}
				if err := echo(conn, asked, noiseAt(0, 64)); err != nil {
					return err
				}
				if asked = nil; due.Sub(began) > settle {
					took[i] = append(took[i], time.Since(due))
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(took...), err
}

// runStorm opens and closes connections until its input ends. It prints a line when the first has been, and one with how many
// there were in the end.
func runStorm(ctx context.Context, o playOrder, certs *certificates, in io.Reader, out io.Writer) error {
	if err := yieldProcessor(); err != nil {
		return err
	}
	var opened atomic.Int64
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(stop)
	}()
	config := certs.clientConfig()
	group, ctx := errgroup.WithContext(ctx)
	for range stormClients {
		group.Go(func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				conn, err := dialAt(ctx, o.Target, config, true)
				if err != nil {
					return err
				}
				if err := greet(ctx, conn, false); err != nil {
					return err
				}
				if opened.Add(1) == 1 {
					_, _ = fmt.Fprintln(out, "opened")
				}
			}
		})
	}
	err := group.Wait()
	_, _ = fmt.Fprintln(out, opened.Load())
	return err
}
