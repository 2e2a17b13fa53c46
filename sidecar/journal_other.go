//go:build !linux

package sidecar

import "io"

// isJournal is false: no other system has a journal.
func isJournal(io.Writer, string) bool { return false }
