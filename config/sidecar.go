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

// LogValue is what belongs to the process for the log: all of it but its secrets.
// The Tunnels, of which there may be thousands, have their own.
func (s *Sidecar) LogValue() slog.Value {
	file := ""
	if s.File != nil {
		file = s.File.Path
	}
	return slog.GroupValue(
		slog.String("file", file),
		slog.Any("status", s.Status),
		slog.Any("metrics", s.Metrics),
		slog.Bool("netstat", s.Netstat),
		slog.Any("log", s.Log),
		slog.Duration("timed_reload", s.TimedReload),
		slog.Bool("watch_files", s.WatchFiles),
		slog.Duration("shutdown_timeout", s.ShutdownTimeout),
		slog.Duration("shutdown_delay", s.ShutdownDelay),
		slog.Bool("disable_landlock", s.DisableLandlock),
		slog.Any("landlock_allow", s.LandlockAllow),
		slog.Any("manager", s.Manager),
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
