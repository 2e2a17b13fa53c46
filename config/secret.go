package config

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is text that must not be shown: however it is formatted, logged or
// encoded, it reads "[hidden]". Convert it to a string to use it. The zero
// value is the empty secret.
type Secret string

const hidden = "[hidden]"

// Format writes "[hidden]" for every verb.
func (Secret) Format(s fmt.State, _ rune) {
	// fmt.State has no way to report an error, and fmt writes to memory first.
	_, _ = io.WriteString(s, hidden)
}

// MarshalText gives "[hidden]".
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue gives "[hidden]".
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Secrets returns the parts of args, which are as for Parse, that are values of
// flags whose values must not be shown. They share their memory with args, so
// that whoever owns that can overwrite them there. Where a line cannot be
// parsed, more than that may be returned.
func Secrets(args []string) []string {
	var secrets []string
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		text, isFlag := strings.CutPrefix(args[i], "--")
		name, value, joined := strings.Cut(text, "=")
		switch s := findSetting(name, everyCommand); {
		case !isFlag || s == nil || !s.secret:
		case joined:
			secrets = append(secrets, value)
		case i+1 < len(args):
			i++
			secrets = append(secrets, args[i])
		}
	}
	return secrets
}
