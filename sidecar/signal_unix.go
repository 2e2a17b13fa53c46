//go:build unix

package sidecar

import (
	"os"
	"syscall"
)

// Signals are those that Run understands.
func Signals() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM, os.Interrupt}
}

// isReload tells the signals that reload from those that end.
func isReload(sig os.Signal) bool { return sig == syscall.SIGHUP || sig == syscall.SIGUSR1 }
