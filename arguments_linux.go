package main

import "unsafe"

// overwrite replaces all of an argument, or of a part of one, by asterisks in
// the memory that /proc/PID/cmdline shows. Go's strings in os.Args lie there:
// the runtime does not copy what the kernel has put on the stack. Were it to do
// so one day, this would change a copy and do no harm.
func overwrite(argument string) {
	memory := unsafe.Slice(unsafe.StringData(argument), len(argument)) //nolint:gosec // see above
	for i := range memory {
		memory[i] = '*'
	}
}
