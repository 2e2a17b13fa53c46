package config

import (
	"errors"
	"log/slog"
	"runtime"
)

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

func setQuiet(d *draft, text string) error {
	quiet := &d.sidecar.Log.Quiet
	switch text {
	case "all":
		quiet.All = true
	case "conns":
		quiet.Conns = true
	case "conn-errs":
		quiet.ConnErrors = true
	case "handshake-errs":
		quiet.HandshakeErrors = true
	default:
		return errors.New("no such kind of log line; use all, conns, conn-errs or handshake-errs")
	}
	return nil
}

func parseLogFormat(text string) (LogFormat, error) {
	switch format := LogFormat(text); format {
	case LogText, LogJSON:
		return format, nil
	}
	return "", errors.New("unknown format; use text or json")
}

func parseSyslog(text string) (bool, error) {
	on, err := parseSwitch(text)
	if on && runtime.GOOS == "windows" {
		return false, errors.New("this system has no syslog; leave it out to log to standard output")
	}
	return on, err
}

func parseLogLevel(text string) (slog.Level, error) {
	switch text {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("unknown level; use debug, info, warn or error")
}
