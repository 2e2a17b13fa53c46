//go:build faults

package sidecar

import (
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// breakable is a listener whose Accept does not come back any more after SIGUSR2, until the next one. It is for tests of
// what becomes of a process in which something is stuck; it is built with the tag faults alone.
func breakable(ln net.Listener) net.Listener {
	b := &breakableListener{Listener: ln}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	go func() {
		for range signals {
			b.broken.Store(!b.broken.Load())
		}
	}()
	return b
}

type breakableListener struct {
	net.Listener
	broken atomic.Bool
}

// Accept hangs while the listener is broken.
func (b *breakableListener) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	for b.broken.Load() {
		<-time.After(time.Millisecond)
	}
	return conn, err
}

// SetDeadline makes the listener one whose Accept can be interrupted.
func (b *breakableListener) SetDeadline(t time.Time) error {
	return b.Listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(t)
}
