//go:build !unix

package sidecar

import (
	"os"
	"syscall"
)

// Signals are those that Run understands.
func Signals() []os.Signal { return []os.Signal{syscall.SIGTERM, os.Interrupt} }

// isReload is false: this system has no signal to reload by.
func isReload(os.Signal) bool { return false }
