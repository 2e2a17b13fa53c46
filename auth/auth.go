// Package auth says who may talk: an [Authorizer] looks at a TLS connection
// whose peer has been verified, and lets it in or gives the reason why not.
// Small ones match one name each; [Any] makes one of many:
//
//	pattern, err := auth.ParseURIPattern("spiffe://example/web/*")
//	…
//	authorize := auth.Any(
//		auth.CommonName("alice"),
//		auth.URI(pattern),
//	)
//	err = authorize(conn.ConnectionState())
//
// Every door here fails closed. The names in a certificate mean something only
// once its chain has been verified, so these authorizers refuse a connection
// without VerifiedChains, and they match the peer's own certificate alone,
// never one that came along in its chain. [Pins] is the exception: it knows
// peers by their public keys, and no chain plays a part.
//
// A refusal is an error with a method Reason, whose answer is one of [Reasons]
// or what a rule from elsewhere gave.
//
// The package does not verify chains, dates or host names; whoever calls an
// Authorizer has done so.
package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"sallyport/internal/peertext"
)

// Authorizer lets the peer of a connection in by returning nil. It is called
// once per handshake, resumed ones included, from many goroutines at once.
type Authorizer func(tls.ConnectionState) error

// Any lets in whom at least one of rules lets in. Without a rule it lets in
// nobody. Its error is a [*DeniedError].
func Any(rules ...Authorizer) Authorizer {
	return func(cs tls.ConnectionState) error {
		var failed []error
		for _, rule := range rules {
			err := rule(cs)
			if err == nil {
				return nil
			}
			if denied, ok := errors.AsType[*DeniedError](err); !ok {
				failed = append(failed, err)
			} else if denied.Err != nil {
				failed = append(failed, denied.Err)
			}
		}
		return &DeniedError{Identity: Identity(cs), Err: errors.Join(failed...)}
	}
}

// When lets in whom rule lets in, of those for whom holds is true. Of others it
// lets in nobody.
func When(holds func(tls.ConnectionState) bool, rule Authorizer) Authorizer {
	return func(cs tls.ConnectionState) error {
		if !holds(cs) {
			return &DeniedError{Identity: Identity(cs)}
		}
		return rule(cs)
	}
}

// AnyPeer lets in every peer whose chain has been verified.
func AnyPeer() Authorizer {
	return match(func(*x509.Certificate) bool { return true })
}

// DeniedError is the refusal of a peer that no rule lets in.
type DeniedError struct {
	// Identity names the peer, as [Identity] does.
	Identity string

	// Err is what rules said beyond that they do not match: why a policy
	// denies, or what kept it from coming to a decision. Nil is nothing.
	Err error
}

// Error names the peer. The name is quoted and cut to 256 bytes: the peer chose
// it.
func (e *DeniedError) Error() string {
	text := "no access rule matches a peer without a certificate"
	if e.Identity != "" {
		text = fmt.Sprintf("no access rule matches %q", peertext.Cut(e.Identity))
	}
	if e.Err != nil {
		text += fmt.Sprintf(": %v", e.Err)
	}
	return text
}

// Unwrap returns Err.
func (e *DeniedError) Unwrap() error { return e.Err }

// Reason is that of Err if it has one, by a method of that name, and else
// [ReasonNotAllowed].
func (e *DeniedError) Reason() string {
	var named interface{ Reason() string }
	if errors.As(e.Err, &named) {
		return named.Reason()
	}
	return ReasonNotAllowed
}

// match lets in peers with a verified certificate for which ok holds.
func match(ok func(*x509.Certificate) bool) Authorizer {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) > 0 && len(cs.VerifiedChains) > 0 && ok(cs.PeerCertificates[0]) {
			return nil
		}
		return &DeniedError{Identity: Identity(cs)}
	}
}
