package auth

// Why a peer was refused, in stable words for logs and metrics.
const (
	ReasonNoCertificate = "no_certificate" // it showed none
	ReasonNotAllowed    = "not_allowed"    // no rule matches it
	ReasonPinMismatch   = "pin_mismatch"   // its key is not one of those pinned
)

// Reasons are all of them.
func Reasons() []string {
	return []string{ReasonNoCertificate, ReasonNotAllowed, ReasonPinMismatch}
}
