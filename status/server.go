package status

import (
	"bytes"
	"context"
	"errors"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of one connection and its requests. What is asked for is short, and so are the answers.
const (
	headerLimit    = 5 * time.Second  // for a request's header, and a TLS handshake
	readLimit      = 10 * time.Second // for a whole request
	writeLimit     = 10 * time.Second // for an answer, from the end of the request's header
	idleLimit      = 60 * time.Second // between requests
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 1 << 20
)

// errClosing is why requests are cancelled at the end.
var errClosing = errors.New("the status port is closing")

// Server serves a status port: HTTP/1.1, with limits on the time and size of
// everything a client can do, and on how many there are. Make it with [NewServer].
type Server struct {
	http   http.Server
	log    *slog.Logger
	ctx    context.Context // ends when Shutdown begins
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	closing bool

	serving sync.WaitGroup // calls of Serve
	conns   sync.WaitGroup // connections
	room    *room          // for them
}

// NewServer returns a Server of h. What goes wrong with connections is logged as
// warnings; but not a handshake that fails, which any probe of the port is.
func NewServer(h http.Handler, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{log: log, ctx: ctx, cancel: cancel, room: newRoom(maxConns, log)}
	s.http = http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            headerLimit,
		ReadTimeout:                  readLimit,
		WriteTimeout:                 writeLimit,
		IdleTimeout:                  idleLimit,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" too is answered by h alone
		ErrorLog:                     stdlog.New(complaints{log}, "", 0),
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnState:                    s.count,
	}
	return s
}

// count follows the connections, and how many of them have a goroutine. It is told
// of a new one by Serve itself, so that conns cannot rise from zero once Serve has
// returned.
func (s *Server) count(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
	s.room.follow(conn, state)
}

// Serve answers the connections of ln until [Server.Shutdown], when it returns
// nil, or until somebody else closes ln, when it returns why. Other failures to
// accept, such as running out of descriptors, are logged and tried again. It
// closes ln. Several listeners may be served at once.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ln.Close()
	}
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()

	if err := s.http.Serve(&patient{ln, s.ctx, s.log}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listeners, cancels what requests wait for (a backend
// check, a profile), lets answers be written, and closes what is left of the
// connections when ctx ends, or as their limits cut them. It returns the error
// of ctx if it had to, and when it returns, no goroutine of the Server is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()

	s.cancel(errClosing)
	err := s.http.Shutdown(ctx)
	s.serving.Wait()
	// Nothing comes in any more. This ends what outlived ctx, and a connection
	// that came in at the very last moment. Listeners are closed already.
	_ = s.http.Close()
	s.conns.Wait()
	return err
}

// complaints takes the lines of http.Server's ErrorLog.
type complaints struct{ log *slog.Logger }

func (c complaints) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, "status port: HTTP server", "message", string(bytes.TrimSpace(line)))
	return len(line), nil
}
