//go:build !unix

package sidecar

import (
	"os"
	"syscall"
)

// Signals are those that Run understands.
func Signals() []os.Signal { return ShutdownSignals() }

// ShutdownSignals are those of Signals that end the process.
func ShutdownSignals() []os.Signal { return []os.Signal{syscall.SIGTERM, os.Interrupt} }

// isReload is false: this system has no signal to reload by.
func isReload(os.Signal) bool { return false }

// signalName is the name that operators know a signal by.
func signalName(sig os.Signal) string { return sig.String() }
