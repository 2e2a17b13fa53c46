package config

import (
	"fmt"
	"regexp"
)

// tunnelName is what goes into logs, labels and URLs as it is.
var tunnelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// wrongName says what the name of a tunnel, or of a route, may be.
func wrongName(what string) error {
	return fmt.Errorf("not the name of a %s; use up to 63 letters, digits, and . _ - after the first", what)
}
