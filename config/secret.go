package config

import (
	"fmt"
	"io"
	"log/slog"
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
