package sidecar

import (
	"context"
	"log/slog"
	"time"
)

// severity is how urgent a log line is, as RFC 5424, section 6.2.1, numbers it.
type severity uint8

// Those of the four levels.
const (
	severityError   severity = 3
	severityWarning severity = 4
	severityInfo    severity = 6
	severityDebug   severity = 7
)

// severities are all of them, in the order of a bySeverity's handlers.
func severities() [4]severity {
	return [...]severity{severityError, severityWarning, severityInfo, severityDebug}
}

// bySeverity is a handler that hands lines to one of several, going by their level: where each of them writes to knows how
// urgent the lines are that it gets.
type bySeverity struct {
	handlers [4]slog.Handler
	timeless bool // the lines have no time: where they are written to notes it
}

func newBySeverity(timeless bool, handler func(severity) slog.Handler) bySeverity {
	b := bySeverity{timeless: timeless}
	for i, s := range severities() {
		b.handlers[i] = handler(s)
	}
	return b
}

func (b bySeverity) handler(level slog.Level) slog.Handler {
	switch {
	case level >= slog.LevelError:
		return b.handlers[0]
	case level >= slog.LevelWarn:
		return b.handlers[1]
	case level >= slog.LevelInfo:
		return b.handlers[2]
	}
	return b.handlers[3]
}

// Enabled reports whether lines of a level are written.
func (b bySeverity) Enabled(ctx context.Context, level slog.Level) bool {
	return b.handler(level).Enabled(ctx, level)
}

// Handle writes a line.
func (b bySeverity) Handle(ctx context.Context, line slog.Record) error {
	if b.timeless {
		line.Time = time.Time{}
	}
	return b.handler(line.Level).Handle(ctx, line)
}

// WithAttrs is the handler of lines that have these attributes, too.
func (b bySeverity) WithAttrs(attrs []slog.Attr) slog.Handler {
	return b.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup is the handler of lines whose attributes are in a group.
func (b bySeverity) WithGroup(name string) slog.Handler {
	return b.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (b bySeverity) each(change func(slog.Handler) slog.Handler) bySeverity {
	for i, h := range b.handlers {
		b.handlers[i] = change(h)
	}
	return b
}

// writerFunc is a writer that is a function.
type writerFunc func(line []byte) (int, error)

// Write calls the function.
func (f writerFunc) Write(line []byte) (int, error) { return f(line) }
