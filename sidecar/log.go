package sidecar

import (
	"io"
	"log/slog"

	"sallyport/config"
	"sallyport/proxy"
)

// newLogger writes log lines to out, or to the system's log, as the configuration wants them. Lines of text have no time of
// their own where the system's log or the journal notes it.
func newLogger(c config.Log, out io.Writer) (log *slog.Logger, done func() error, err error) {
	done = func() error { return nil }
	if c.Quiet.All {
		return slog.New(slog.DiscardHandler), done, nil
	}
	isText := c.Format == config.LogText
	options := &slog.HandlerOptions{Level: c.Level}
	handler := func(out io.Writer) slog.Handler {
		if isText {
			return slog.NewTextHandler(out, options)
		}
		return slog.NewJSONHandler(out, options)
	}
	switch {
	case c.Syslog:
		s, err := openSyslog(syslogPlaces())
		if err != nil {
			return nil, done, err
		}
		return slog.New(newBySeverity(isText, func(level severity) slog.Handler { return handler(s.writer(level)) })), s.close, nil
	case isText && isJournal(out, c.JournalStream):
		j := &journal{out: out}
		return slog.New(newBySeverity(isText, func(level severity) slog.Handler { return handler(j.writer(level)) })), done, nil
	}
	return slog.New(handler(out)), done, nil
}

// quiet translates the classes of log lines that are left out.
func quiet(q config.Quiet) proxy.Quiet {
	var classes proxy.Quiet
	if q.Conns || q.All {
		classes |= proxy.QuietConns
	}
	if q.ConnErrors || q.All {
		classes |= proxy.QuietConnErrs
	}
	if q.HandshakeErrors || q.All {
		classes |= proxy.QuietHandshakeErrs
	}
	return classes
}
