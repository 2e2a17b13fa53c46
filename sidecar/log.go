package sidecar

import (
	"io"
	"log/slog"

	"sallyport/config"
	"sallyport/proxy"
)

// newLogger writes log lines to out as the configuration wants them.
func newLogger(c config.Log, out io.Writer) *slog.Logger {
	if c.Quiet.All {
		return slog.New(slog.DiscardHandler)
	}
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
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
