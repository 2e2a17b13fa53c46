package config

import (
	"slices"
	"strings"
)

// unsupported are flags that an operator may know, from Ghostunnel above all,
// and that have no row in settings yet. To call them unknown, with a guess at
// what was meant, would mislead.
var unsupported = []string{
	// What goes over the wire

	// The process
	"syslog",
}

// isUnsupported tells whether text is such a flag, with its dashes.
func isUnsupported(text string) bool {
	name, ok := strings.CutPrefix(text, "--")
	return ok && (slices.Contains(unsupported, name) || slices.Contains(unsupported, strings.TrimPrefix(name, "no-")))
}
