package config

import (
	"log/slog"
	"net/url"
	"time"

	"sallyport/socket"
)

// Sidecar is the work of `sallyport run`, and of `sallyport server` and `sallyport
// client`, which have one tunnel: tunnels, and what belongs to the process that
// runs them.
type Sidecar struct {
	File            *File    // what it was read from; nil: a command line alone
	Tunnels         []Tunnel // at least one, each with a name of its own
	Status          Status
	Metrics         Metrics
	Netstat         bool // measure the host's long-lived connections too, beside what the status port tells
	Log             Log
	TimedReload     time.Duration // time from one reload to the next; 0: none
	WatchFiles      bool          // reload when a file that Tunnels name changes
	ShutdownTimeout time.Duration // how long a drain may take; 0: it ends at once
	ShutdownDelay   time.Duration // how long before a drain everything but readiness goes on; 0: not at all
	DisableLandlock bool          // run without the sandbox
	LandlockAllow   Allowance     // what is allowed in the sandbox beside
	Manager         Manager       // who has started the process
}

// Check is the work of `sallyport check`: to load and verify what the Sidecar
// would run with, and to report on it.
type Check struct {
	Sidecar    *Sidecar
	Ghostunnel bool // the command line is one of Ghostunnel's: tell what differs
}

// LogValue is the configuration for the log: all of it but its secrets.
func (s *Sidecar) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Any("status", s.Status),
		slog.Any("metrics", s.Metrics),
		slog.Bool("netstat", s.Netstat),
		slog.Any("log", s.Log),
		slog.Duration("timed_reload", s.TimedReload),
		slog.Bool("watch_files", s.WatchFiles),
		slog.Duration("shutdown_timeout", s.ShutdownTimeout),
		slog.Duration("shutdown_delay", s.ShutdownDelay),
		slog.Bool("disable_landlock", s.DisableLandlock),
		slog.Any("manager", s.Manager),
	}
	for i := range s.Tunnels {
		attrs = append(attrs, slog.Any("tunnel."+s.Tunnels[i].Name, &s.Tunnels[i]))
	}
	return slog.GroupValue(attrs...)
}

// Status is the status port. The zero value is none.
type Status struct {
	Listen   socket.Address
	TLS      bool // serve HTTPS with the identity of the first tunnel that has one, if Listen turns out to be TCP; else plain HTTP
	Pprof    bool // serve /debug/pprof/
	Shutdown bool // serve /_shutdown

	TokenFile string // file with the token that clients must send, but to /, /livez and /readyz; "": none is asked for
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

// Metrics says under what names is measured, and where that is sent beside being shown at the status port.
type Metrics struct {
	Prefix        string         // first part of the Ghostunnel-compatible names, without the dot
	Graphite      socket.Address // a carbon that takes lines over TCP; zero: none
	URL           *url.URL       // where to POST them as JSON; it may hold a password; nil: nowhere
	Interval      time.Duration  // from one reading that is sent to the next
	MaxIdentities int            // how many identities of peers have a name of their own in metrics of a tunnel
	Compat        string         // PrometheusTunnel: requests are counted under its names too; "": they are not
}

// LogValue is the way of measuring for the log.
func (m Metrics) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("prefix", m.Prefix),
		slog.String("graphite", m.Graphite.String()),
		slog.Duration("interval", m.Interval),
		slog.Int("max_identities", m.MaxIdentities),
		slog.String("compat", m.Compat),
	}
	if m.URL != nil {
		attrs = append(attrs, slog.String("url", m.URL.Scheme+"://"+m.URL.Host)) // the rest may be what lets one in there
	}
	return slog.GroupValue(attrs...)
}

// LogFormat is how log lines are written.
type LogFormat string

// The formats of a log line.
const (
	LogText LogFormat = "text" // slog.TextHandler's key=value
	LogJSON LogFormat = "json" // slog.JSONHandler's objects
)

// Log says what is logged, and how: to standard output, or to the system's log.
type Log struct {
	Format LogFormat
	Level  slog.Level
	Quiet  Quiet
	Sample int  // one in so many connections is logged when it opens and closes
	Syslog bool // to the system's log

	// JournalStream is what systemd says that standard output, or standard
	// error, is if it leads to the journal: "DEVICE:INODE" (systemd.exec(5)).
	JournalStream string
}

// LogValue is the way of logging for the log.
func (l Log) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("format", string(l.Format)),
		slog.String("level", l.Level.String()),
		slog.Any("quiet", l.Quiet),
		slog.Bool("syslog", l.Syslog),
		slog.Int("sample", l.Sample),
	)
}

// Quiet names the log lines that are left out. The zero value leaves out none.
type Quiet struct {
	All             bool // everything
	Conns           bool // the opening and closing of connections
	ConnErrors      bool // failures of connections other than handshakes
	HandshakeErrors bool // failures of TLS handshakes
}
