package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"
)

// Accept failures are retried after a pause that doubles from the first to the second.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// acceptRow is how many connections are accepted in a row.
const acceptRow = 8

// Serve accepts connections until Shutdown, Drain or HandOver, after which it returns ErrServerClosed, or until the listener is
// closed by somebody else, whose error it returns. Other failures to accept, such as running out of descriptors, are logged
// and tried again. Serve closes the listener, unless it is handed over. It may be called once.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	if err := s.adopt(ln); err != nil {
		return err
	}
	defer s.leave(ln)
	pause := time.Duration(0)
	turn := newPlace()
	defer turn.close()
	for n := 0; ; n++ {
		if n%acceptRow == 0 {
			turn.yield() // a burst of connections lets those go first whom the network has something for
		}
		if !s.acquire() {
			return ErrServerClosed
		}
		accepted, err := ln.Accept()
		if err == nil {
			pause = 0
			s.start(accepted)
			continue
		}
		s.release()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.woken()
			continue
		}
		if s.inviting.Err() != nil {
			return ErrServerClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
		s.acceptFailed(err, pause)
		if !s.sleep(pause) {
			return ErrServerClosed
		}
	}
}

// Shutdown closes the listener, cancels handshakes and dials in progress, and waits until the established connections have
// ended by themselves. When the context ends first it closes them and, if there were any, returns the context's error. No
// connection is in hand when it returns. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.cancel(ErrServerClosed) // before the listener closes, so that Serve knows why its Accept fails
	s.mu.Lock()
	s.closing = true
	if s.listener != nil && !s.handedOver {
		_ = s.listener.Close()
	}
	s.mu.Unlock()
	s.dismiss() // clients that are told to come again must not find this listener
	return s.wait(ctx)
}

// wait returns when no connection is in hand, as Shutdown does.
func (s *Server) wait(ctx context.Context) error {
	cut := make(chan bool, 1)
	stop := context.AfterFunc(ctx, func() { cut <- s.cutAll() })
	s.conns.Wait()
	if stop() || !<-cut {
		return nil
	}
	return ctx.Err()
}

// start takes a connection in hand, unless the server is closing.
func (s *Server) start(accepted net.Conn) {
	c := newConn(s, accepted)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		_ = accepted.Close()
		s.release()
		return
	}
	if !c.headed {
		c.crowded = c.countLocked()
	}
	s.active[c] = struct{}{}
	s.total++
	s.conns.Go(c.serve)
}

// finish lets go of a connection that start took in hand, and that has settled.
func (s *Server) finish(c *conn) {
	s.mu.Lock()
	delete(s.active, c)
	s.bytesIn += c.up.moved.Load()
	s.bytesOut += c.down.moved.Load()
	s.sources.leave(c.counted)
	s.mu.Unlock()
	s.slots.give()
}

// cutAll closes every connection in hand, and reports whether an established one was among them.
func (s *Server) cutAll() (established bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.active {
		established = c.shutDown() || established
	}
	return established
}

// adopt makes ln the server's listener, unless it is closing, has one, or has handed it over before it came.
func (s *Server) adopt(ln net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.handedOver:
		return ErrServerClosed
	case s.closing, s.leaving:
		_ = ln.Close()
		return ErrServerClosed
	case s.listener != nil:
		_ = ln.Close()
		return errors.New("proxy: Serve was called twice")
	}
	s.listener = ln
	if ln, ok := ln.(interruptible); ok {
		s.wakeable.Store(&ln)
	}
	return nil
}

// acquire waits until one more connection may be in hand, and one more on its way; false when the server closes first.
func (s *Server) acquire() bool {
	if !s.slots.take(s.inviting, s.pings) {
		return false
	}
	if !s.settling.take(s.inviting, s.pings) {
		s.slots.give()
		return false
	}
	return true
}

// release takes back an acquire that no connection came of.
func (s *Server) release() {
	s.settling.give()
	s.slots.give()
}

func (s *Server) acceptFailed(err error, pause time.Duration) {
	reason := reasonOf(err)
	if s.Observer.Failed != nil {
		s.Observer.Failed(stageAccept, reason)
	}
	if s.Quiet&QuietConnErrs == 0 {
		attrs := []slog.Attr{
			slog.String("stage", stageAccept), slog.String("reason", reason), slog.Any("error", err), slog.Duration("retry_in", pause),
		}
		s.Log.LogAttrs(s.ctx, slog.LevelError, "error on accept", append(attrs, s.hint(stageAccept, reason, "")...)...)
	}
}

// hint is what Hint says, for log lines.
func (s *Server) hint(stage, reason, serverName string) []slog.Attr {
	if s.Hint == nil {
		return nil
	}
	text := s.Hint(stage, reason, serverName)
	if text == "" {
		return nil
	}
	return []slog.Attr{slog.String("hint", text)}
}

// sleep waits, and answers pings meanwhile; false when the server closed first.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case answered := <-s.pings:
			close(answered)
		case <-s.inviting.Done():
			return false
		}
	}
}
