package main

import (
	"strings"

	"sallyport/config"
)

// privately returns args as they are, and hides the secrets among them from
// whoever lists the processes of this machine. They were to be seen until now:
// variables and files are the better places.
func privately(args []string) []string {
	mine := make([]string, len(args))
	for i, arg := range args {
		mine[i] = strings.Clone(arg) // before its memory is overwritten
	}
	for _, secret := range config.Secrets(args) {
		overwrite(secret)
	}
	return mine
}
