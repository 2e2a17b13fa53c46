package starttls

import (
	"errors"
	"fmt"
	"io"
)

// Why connections fail here, as logs and metrics name it.
const (
	reasonRefused   = "starttls_refused"   // the target does not go over to TLS
	reasonRequired  = "starttls_required"  // the client did not ask for TLS
	reasonMalformed = "starttls_malformed" // what came is not the protocol, or more than is acceptable
	reasonTarget    = "target_refused"     // the target turned the connection away as it greeted
)

// Reasons returns the reasons of every Error, sorted.
func Reasons() []string {
	return []string{reasonMalformed, reasonRefused, reasonRequired, reasonTarget}
}

// Error is a connection that did not come to be TLS. One that is the client's doing was answered in the client's protocol.
type Error struct {
	reason, text string
}

// Error says what happened.
func (e *Error) Error() string { return e.text }

// Reason is a stable word for logs and metrics.
func (e *Error) Reason() string { return e.reason }

func refused(format string, args ...any) *Error {
	return &Error{reason: reasonRefused, text: fmt.Sprintf(format, args...)}
}

func required(format string, args ...any) *Error {
	return &Error{reason: reasonRequired, text: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *Error {
	return &Error{reason: reasonMalformed, text: fmt.Sprintf(format, args...)}
}

func turnedAway[T ~string | ~[]byte](greeting T) *Error {
	return &Error{reason: reasonTarget, text: "the target turned the connection away: " + clip(greeting)}
}

// ofTarget says of an error that it happened with the target, whose ends are never expected here.
func ofTarget(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("speaking with the target before TLS: %w", err)
}

// clipStart is as much of what a client said as tells what kind of message it is. What follows may be a password, or its proof.
func clipStart(said []byte) string {
	const limit = 4
	return clip(said[:min(len(said), limit)])
}

// clip is what a stranger said, for an error: no more than a line of it.
func clip[T ~string | ~[]byte](said T) string {
	const limit = 128
	if len(said) > limit {
		return fmt.Sprintf("%q…", said[:limit])
	}
	return fmt.Sprintf("%q", said)
}
