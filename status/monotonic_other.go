//go:build !linux

package status

// monotonic is zero: no other system has a service manager that wants to know.
func monotonic() int64 { return 0 }
