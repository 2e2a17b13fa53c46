package status

import "golang.org/x/sys/unix"

// monotonic is the time of CLOCK_MONOTONIC, in microseconds.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // every kernel that Go runs on has it
	return now.Nano() / 1000
}
