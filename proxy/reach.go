package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Reacher makes of a dial function, such as Server.Dial, the one for Server.Handle to reach targets by. DialTimeout bounds
// it, the Observer and the log are told, and Recheck asks about the targets as about those of forwarded connections. Its errors
// have a method Reason. A connection is a *tls.Conn if dial makes one of that; else it is as those of StreamReacher.
func (s *Server) Reacher(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return s.reacher(dial, (*reached).conn)
}

// StreamReacher is Reacher for what becomes a stream of bytes. The connections are never a *tls.Conn. They have the methods
// CloseWrite, and WriteTo of [io.WriterTo], which keeps no buffer while nothing comes.
func (s *Server) StreamReacher(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	return s.reacher(dial, (*reached).stream)
}

func (s *Server) reacher(dial func(context.Context) (net.Conn, error), as func(*reached) net.Conn) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		s.init()
		ctx, cancel := bounded(ctx, s.DialTimeout)
		defer cancel()
		t, err := s.reach(ctx, dial)
		if err != nil {
			return nil, s.unreached(ctx, err)
		}
		return as(t), nil
	}
}

// reach dials a target that is not one connection's alone.
func (s *Server) reach(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*reached, error) {
	started := time.Now()
	dialled, err := dial(ctx)
	took := time.Since(started)
	if failed, ok := errors.AsType[*handshakeError](err); ok {
		took -= failed.took
		s.observeReach(took, failed.took, nil)
		return nil, err
	}
	if err != nil {
		s.observeReach(took, 0, nil)
		return nil, err
	}
	t := &reached{server: s, side: newSide(dialled)}
	if wire := t.side.wire; wire != nil {
		s.observeReach(took-wire.took, wire.took, t.side)
		wire.timed, wire.closed = true, t.leave
	} else {
		s.observeReach(took, 0, nil)
	}
	s.keep(t)
	if latest := s.verdict.Load(); latest != nil {
		if err := t.recheck(*latest); err != nil {
			return nil, &handshakeError{err: err, target: true, peer: t.side.tls.ConnectionState()}
		}
	}
	return t, nil
}

// observeReach tells of a dial, and of a handshake that took any time.
func (s *Server) observeReach(took, shaking time.Duration, met *side) {
	if handshake := s.Observer.Handshake; handshake != nil && shaking > 0 {
		if met == nil {
			handshake(shaking, nil)
		} else {
			state := met.tls.ConnectionState()
			handshake(shaking, &state)
		}
	}
	if dialled := s.Observer.Dialled; dialled != nil {
		dialled(took)
	}
}

// unreached tells that a target could not be reached, and names the error.
func (s *Server) unreached(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = &interruptedError{cause: cause, err: err}
	}
	stage, reason := stageOf(err), reasonOf(err)
	if errors.Is(err, context.Canceled) {
		return &unreachedError{err: err, reason: reason} // nobody waits for it any more
	}
	if failed := s.Observer.Failed; failed != nil {
		failed(stage, reason)
	}
	if s.Quiet&QuietConnErrs == 0 {
		attrs := []slog.Attr{slog.String("stage", stage), slog.String("reason", reason), slog.Any("error", err)}
		s.Log.LogAttrs(ctx, slog.LevelError, "error on dial", append(attrs, s.hint(stage, reason, "")...)...)
	}
	return &unreachedError{err: err, reason: reason}
}

// unreachedError is a target that could not be reached.
type unreachedError struct {
	err    error
	reason string
}

func (e *unreachedError) Error() string { return e.err.Error() }

func (e *unreachedError) Unwrap() error { return e.err }

// Reason names it in metrics and in the log.
func (e *unreachedError) Reason() string { return e.reason }

// reached is a connection with a target that is not one client's alone.
type reached struct {
	server *Server
	side   *side
}

// conn is the target for those who use it. Theirs is a TLS session itself, whose wire tells when it is closed.
func (t *reached) conn() net.Conn {
	if t.side.wire != nil {
		return t.side.Conn
	}
	return t.stream()
}

// stream is the target as it is for those that need no TLS session.
func (t *reached) stream() net.Conn { return &targetStream{Conn: t.side.Conn, target: t} }

// keep has Recheck know of the target.
func (s *Server) keep(t *reached) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reached == nil {
		s.reached = make(map[*reached]struct{})
	}
	s.reached[t] = struct{}{}
}

func (t *reached) leave() {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	delete(t.server.reached, t)
}

func (s *Server) targets() []*reached {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*reached, 0, len(s.reached))
	for t := range s.reached {
		list = append(list, t)
	}
	return list
}

// recheck closes the target if verify rejects it, for which it returns why.
func (t *reached) recheck(verify verdict) error {
	err := t.side.verify(verify)
	if err != nil {
		t.leave()
		t.side.abort()
	}
	return err
}

// targetStream is a target as a stream of bytes.
type targetStream struct {
	net.Conn

	target *reached
	once   sync.Once
}

// WriteTo sends w all that the target sends. Nobody may read before it returns.
func (s *targetStream) WriteTo(w io.Writer) (int64, error) {
	return pour(w, s.target.side.stream(&s.target.server.buffers), func(int, error) {})
}

// CloseWrite ends the writing.
func (s *targetStream) CloseWrite() error {
	closeWrite(s.Conn)
	return nil
}

// Close ends both directions.
func (s *targetStream) Close() error {
	s.once.Do(s.target.leave)
	return s.Conn.Close()
}
