package config

import (
	"errors"
	"regexp"
)

// tunnelName is what goes into logs, labels and URLs as it is.
var tunnelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func parseTunnelName(text string) (string, error) {
	if !tunnelName.MatchString(text) {
		return "", errors.New("not the name of a tunnel; use up to 63 letters, digits, and . _ - after the first")
	}
	return text, nil
}
