package config

import (
	"log/slog"
	"time"

	"sallyport/socket"
)

// Sidecar is the work of `sallyport server` and `sallyport client`: tunnels, and
// what belongs to the process that runs them.
type Sidecar struct {
	Tunnels         []Tunnel // at least one
	Status          Status
	MetricsPrefix   string // first part of the Ghostunnel-compatible names, without the dot
	Log             Log
	TimedReload     time.Duration // time from one reload to the next; 0: none
	WatchFiles      bool          // reload when a file that Tunnels name changes
	ShutdownTimeout time.Duration // how long a drain may take; 0: it ends at once
	DisableLandlock bool          // run without the sandbox
}

// Check is the work of `sallyport check`: to load and verify what the Sidecar
// would run with, and to report on it.
type Check struct {
	Sidecar *Sidecar
}

// LogValue is the configuration for the log: all of it but its secrets.
func (s *Sidecar) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Any("status", s.Status),
		slog.String("metrics_prefix", s.MetricsPrefix),
		slog.Any("log", s.Log),
		slog.Duration("timed_reload", s.TimedReload),
		slog.Bool("watch_files", s.WatchFiles),
		slog.Duration("shutdown_timeout", s.ShutdownTimeout),
		slog.Bool("disable_landlock", s.DisableLandlock),
	}
	for i := range s.Tunnels {
		attrs = append(attrs, slog.Any("tunnel."+s.Tunnels[i].Name, &s.Tunnels[i]))
	}
	return slog.GroupValue(attrs...)
}

// Status is the status port. The zero value is none.
type Status struct {
	Listen   socket.Address
	TLS      bool // serve HTTPS with the first tunnel's identity, if Listen turns out to be TCP; else plain HTTP
	Pprof    bool // serve /debug/pprof/
	Shutdown bool // serve /_shutdown

	TokenFile string // file with the token that clients must send, but to /livez and /readyz; "": none is asked for
	ClientCA  string // file with the CAs that clients' certificates must chain to; only with TLS; "": none is asked for
}

// LogValue is the status port for the log.
func (s Status) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("listen", s.Listen.String()),
		slog.Bool("tls", s.TLS),
		slog.Bool("pprof", s.Pprof),
		slog.Bool("shutdown", s.Shutdown),
		slog.String("token_file", s.TokenFile),
		slog.String("client_ca", s.ClientCA),
	)
}

// LogFormat is how log lines are written.
type LogFormat string

// The formats of a log line.
const (
	LogText LogFormat = "text" // slog.TextHandler's key=value
	LogJSON LogFormat = "json" // slog.JSONHandler's objects
)

// Log says what is logged to standard output, and how.
type Log struct {
	Format LogFormat
	Level  slog.Level
	Quiet  Quiet
}

// LogValue is the way of logging for the log.
func (l Log) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("format", string(l.Format)),
		slog.String("level", l.Level.String()),
		slog.Any("quiet", l.Quiet),
	)
}

// Quiet names the log lines that are left out. The zero value leaves out none.
type Quiet struct {
	All             bool // everything
	Conns           bool // the opening and closing of connections
	ConnErrors      bool // failures of connections other than handshakes
	HandshakeErrors bool // failures of TLS handshakes
}
