package policy

import "fmt"

// Why a peer was refused, in stable words for logs and metrics.
const (
	ReasonDenied = "policy_denied" // the policy said so, or nothing
	ReasonError  = "policy_error"  // it came to no decision
)

// Reasons are all of them.
func Reasons() []string { return []string{ReasonDenied, ReasonError} }

// Error is the refusal of a peer.
type Error struct {
	reason, text string
	err          error // nil where the policy did decide
}

func (p *Policy) denied(why string) error {
	return &Error{reason: ReasonDenied, text: fmt.Sprintf("policy %s: %s %s", p.path, p.query, why)}
}

func (p *Policy) failed(err error) error {
	return &Error{reason: ReasonError, text: fmt.Sprintf("policy %s: %s: %v", p.path, p.query, err), err: err}
}

// Error tells policy, query and what came of it.
func (e *Error) Error() string { return e.text }

// Unwrap returns what kept the policy from coming to a decision, if anything did.
func (e *Error) Unwrap() error { return e.err }

// Reason is one of [Reasons].
func (e *Error) Reason() string { return e.reason }
