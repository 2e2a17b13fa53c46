//go:build !linux

package socket

import "context"

// claim does nothing: here no name goes with the process.
func claim(context.Context, string) (release func()) { return func() {} }
