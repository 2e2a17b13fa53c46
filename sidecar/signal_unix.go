//go:build unix

package sidecar

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signals are those that Run understands.
func Signals() []os.Signal { return append(ShutdownSignals(), syscall.SIGHUP, syscall.SIGUSR1) }

// ShutdownSignals are those of Signals that end the process.
func ShutdownSignals() []os.Signal { return []os.Signal{syscall.SIGTERM, os.Interrupt} }

// isReload tells the signals that reload from those that end.
func isReload(sig os.Signal) bool { return sig == syscall.SIGHUP || sig == syscall.SIGUSR1 }

// signalName is the name that operators know a signal by.
func signalName(sig os.Signal) string {
	if number, ok := sig.(syscall.Signal); ok {
		return unix.SignalName(number)
	}
	return sig.String()
}
