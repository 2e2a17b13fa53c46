package webproxy

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// errorLog takes what Go's HTTP server has to say. Of clients that break their connection off, or speak no HTTP, nobody has to
// know; but that a request made the program panic is its fault.
type errorLog struct{ log *slog.Logger }

func (p *Proxy) errorLog() *log.Logger { return log.New(errorLog{p.Log}, "", 0) }

func (l errorLog) Write(text []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(text, []byte("http: panic")) || bytes.HasPrefix(text, []byte("http2: panic")) {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "HTTP server", "message", string(bytes.TrimSpace(text)))
	return len(text), nil
}
