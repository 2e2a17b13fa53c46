package status

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"
)

// Failures to accept are tried again after a pause that doubles from the first
// to the second.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// patient is a listener whose Accept fails only once it is closed, or once ctx
// has ended. http.Server tries again too, but gives up at errors that pass as
// well as others do: no buffers, no memory, a filter that drops the connection.
type patient struct {
	net.Listener
	ctx context.Context
	log *slog.Logger
}

// Accept waits for a connection, however often accepting fails meanwhile.
func (l *patient) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; pause = min(2*pause, maxAcceptPause) {
		c, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) || l.ctx.Err() != nil {
			return c, err
		}
		l.log.Error("status port: error on accept", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
		}
	}
}
