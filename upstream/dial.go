package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// Dial connects to a member, and to the next where that fails, until the context ends. What over makes of a socket is the
// connection: it is told the target, by its place in Options, and gets what connects to the member. Nil leaves the socket as it
// is. An error of over has the next member tried, unless it is [Final].
//
// The socket of the connection has methods NetConn and Release. It counts as open until it is closed, or Release is called.
//
// An error is a [*NoTargetError], what was final, or what the last attempt said when the context ended.
func (g *Group) Dial(ctx context.Context, over func(ctx context.Context, target int, dial DialFunc) (net.Conn, error)) (net.Conn, error) {
	if err := g.await(ctx); err != nil {
		return nil, err
	}
	source := ""
	if g.options.Balance == Source {
		source = sourceOf(ctx)
	}
	var failed []error
	var tried map[*member]bool
	for {
		m, left := g.pick(source, tried)
		if m == nil {
			return nil, &NoTargetError{Failures: failed, down: g.faults()}
		}
		conn, err := g.attempt(ctx, m, left, over)
		if err == nil {
			return conn, nil
		}
		named := fmt.Errorf("target %s: %w", m.name, err)
		if _, final := errors.AsType[*finalError](err); final || ctx.Err() != nil || isOurs(err) {
			return nil, named
		}
		failed = append(failed, named)
		if tried == nil {
			tried = make(map[*member]bool)
		}
		tried[m] = true
	}
}

// await waits until there is a member, or every name was looked up once.
func (g *Group) await(ctx context.Context) error {
	g.mu.Lock()
	known := len(g.members) > 0
	g.mu.Unlock()
	if known {
		return nil
	}
	select {
	case <-g.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("looking up the targets: %w", context.Cause(ctx))
	}
}

// attempt connects to a member that was picked, in its share of the time.
func (g *Group) attempt(
	ctx context.Context, m *member, left int, over func(context.Context, int, DialFunc) (net.Conn, error),
) (net.Conn, error) {
	bounded, cancel := within(ctx, left)
	defer cancel()
	started := time.Now()
	l := &lease{group: g, member: m}
	var conn net.Conn
	var err error
	if over == nil {
		conn, err = l.dial(bounded)
	} else {
		conn, err = over(bounded, m.target, l.dial)
	}
	l.attempted()
	_, final := errors.AsType[*finalError](err)
	if err == nil {
		g.connected(m)
	} else if blames := !final && !isOurs(err) && (ctx.Err() == nil || errors.Is(context.Cause(ctx), context.DeadlineExceeded)); blames {
		g.failed(m, err, time.Since(started))
	} else {
		g.undecided(m)
	}
	return conn, err
}

// shareLeast is the time that an attempt gets even where many are left to try, if there is twice as much.
const shareLeast = 2 * time.Second

// within bounds an attempt, so that a member that swallows packets leaves time for the others: each has the same share of what
// is left; but not less than shareLeast or half of it, since most answer or refuse at once.
func within(ctx context.Context, left int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || left == 0 {
		return context.WithCancel(ctx)
	}
	remaining := time.Until(deadline)
	share := max(remaining/time.Duration(left+1), min(remaining/2, shareLeast))
	return context.WithTimeout(ctx, share)
}

// isOurs tells whether an error is about this machine, and would be the same with every member. That it has no address to reach
// one from, or no port that is free towards it (EADDRNOTAVAIL), says nothing about the others.
func isOurs(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// ReasonNoTarget is the reason of a [NoTargetError].
const ReasonNoTarget = "no_target_up"

// NoTargetError is that no member could be connected to.
type NoTargetError struct {
	Failures []error // of the attempts that were made
	down     []error // of what nobody tried
}

// Error tells what each said.
func (e *NoTargetError) Error() string {
	var texts []string
	for _, err := range e.Failures {
		texts = append(texts, err.Error())
	}
	for _, err := range e.down {
		texts = append(texts, err.Error())
	}
	if len(texts) == 0 {
		return "no target is up"
	}
	return "no target is up: " + strings.Join(texts, "; ")
}

// Reason names it in metrics and in the log. The errors within have reasons too, which are counted by target.
func (e *NoTargetError) Reason() string { return ReasonNoTarget }

// Final has Dial return err rather than try another member, and blame nobody.
func Final(err error) error { return &finalError{err} }

type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

func (e *finalError) Unwrap() error { return e.err }
