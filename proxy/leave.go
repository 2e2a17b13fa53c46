package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// lastCall is how long Drain goes on accepting who has connected already, or does just then.
const lastCall = 20 * time.Millisecond

// errNoHandOver is what HandOver returns if it cannot.
var errNoHandOver = errors.New("proxy: the listener cannot be handed over")

// HandOver ends Serve, and leaves its listener open, for another Server to go on with: whoever waits in the accept queue stays
// there. Connections in hand go on, those in a handshake too; Drain or Shutdown must follow. It returns when nothing will be
// accepted any more, which takes a moment. A listener without SetDeadline cannot be taken out of its Accept, and is an error;
// so is that of a Server that is closing, or has handed it over already.
func (s *Server) HandOver() error {
	s.init()
	s.mu.Lock()
	serving, ln := s.listener != nil, s.wakeable.Load()
	if s.closing || s.leaving || s.handedOver || serving && ln == nil {
		s.mu.Unlock()
		return errNoHandOver
	}
	s.handedOver = true
	s.mu.Unlock()

	s.uninvite() // before Accept returns, so that Serve knows why
	if !serving {
		return nil // Serve will find out
	}
	_ = (*ln).SetDeadline(time.Unix(1, 0))
	<-s.served
	return (*ln).SetDeadline(time.Time{})
}

// Drain is Shutdown for a tunnel that ends while others go on, and nobody is in a hurry: who waits in the accept queue is
// accepted before the listener closes, and handshakes and dials in progress go on. When the context ends first, it closes what
// is left and, if there were established connections among them, returns the context's error.
func (s *Server) Drain(ctx context.Context) error {
	s.init()
	s.mu.Lock()
	ln := s.listener
	serving := ln != nil && !s.handedOver
	s.leaving = true
	s.mu.Unlock()
	s.uninvite()
	if serving {
		if wakeable := s.wakeable.Load(); wakeable != nil {
			_ = (*wakeable).SetDeadline(time.Unix(1, 0))
		} else {
			_ = ln.Close()
		}
		<-s.served // then nobody comes any more
	}
	s.dismiss()
	stop := context.AfterFunc(ctx, func() { s.cancel(ErrServerClosed) })
	defer stop()
	return s.wait(ctx)
}

// leave is the end of Serve.
func (s *Server) leave(ln net.Listener) {
	defer close(s.served)
	s.mu.Lock()
	handedOver := s.handedOver
	last := s.leaving && !s.closing && s.wakeable.Load() != nil
	s.mu.Unlock()
	if handedOver {
		return
	}
	if last {
		s.acceptLast(ln)
	}
	_ = ln.Close()
}

// acceptLast takes in hand who is in the accept queue, as long as there is room.
func (s *Server) acceptLast(ln net.Listener) {
	until := time.Now().Add(lastCall)
	for s.slots.tryTake() {
		if !s.settling.tryTake() {
			s.slots.give()
			return
		}
		_ = (*s.wakeable.Load()).SetDeadline(until) // again each time: what ended the last Accept may have come too late for it
		accepted, err := ln.Accept()
		if err == nil {
			s.start(accepted)
			continue
		}
		s.release()
		if !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(until) {
			return
		}
	}
}
