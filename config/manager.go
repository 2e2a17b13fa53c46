package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"time"
)

// Manager is what a service manager has said, in the environment, to the
// process that it has started, as systemd does (sd_notify(3),
// sd_watchdog_enabled(3)). The zero value is that there is none, as on every system but Linux.
type Manager struct {
	NotifySocket string        // where it wants to hear of the process: a path, or @ and an abstract name; "": nowhere
	Watchdog     time.Duration // how long without a sign of life it takes for hung; 0: it does not look
}

// LogValue is the manager for the log.
func (m Manager) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("notify_socket", m.NotifySocket),
		slog.Duration("watchdog", m.Watchdog),
	)
}

// newManager reads what a service manager has said.
func newManager(env func(string) (string, bool)) (m Manager, err error) {
	if runtime.GOOS != "linux" {
		return m, nil
	}
	m.NotifySocket, _ = env("NOTIFY_SOCKET")
	if pid, _ := env("WATCHDOG_PID"); m.NotifySocket == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return m, nil // there is nobody to tell, or it is another process that is looked at
	}
	if text, _ := env("WATCHDOG_USEC"); text != "" {
		m.Watchdog, err = parseMicroseconds(text)
		if err != nil {
			return m, fmt.Errorf("WATCHDOG_USEC %q: %w", text, err)
		}
	}
	return m, nil
}

func parseMicroseconds(text string) (time.Duration, error) {
	value, err := strconv.ParseUint(text, 10, 53) // a Duration could hold some more
	if err != nil || value < 2 {
		return 0, errors.New("not a time in microseconds; let systemd set it, by WatchdogSec=, or unset it")
	}
	return time.Duration(value) * time.Microsecond, nil
}
