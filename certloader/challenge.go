package certloader

import (
	"crypto/tls"
	"fmt"

	"sallyport/internal/peertext"
)

// ChallengeProtocol is what an ACME CA negotiates by ALPN to see that this
// server has the name it wants a certificate for (RFC 8737, 3).
const ChallengeProtocol = "acme-tls/1"

// isChallenge reports whether hello asks to validate a name and for nothing
// else: such a client offers ChallengeProtocol alone, and says the name
// (RFC 8737, 3). Every other one is a client like any.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return hello.ServerName != "" && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ChallengeProtocol
}

// challengeConfig is what serves clients that ask to validate a name. They show
// no certificate, so there is nothing for them behind the handshake: it begins
// no session that could be resumed, and resumes none.
func challengeConfig(answer func(*tls.ClientHelloInfo) (*tls.Certificate, error), opts ServerOptions) *tls.Config {
	config := baseConfig([]string{ChallengeProtocol}, opts.CipherSuites, opts.MaxVersion)
	config.GetCertificate = answer
	config.SessionTicketsDisabled = true
	return config
}

// ReasonNoChallenge is why a handshake fails with who validates a name that
// nobody asked it to. It is none of [Reasons], for nobody is refused who could be
// let in.
const ReasonNoChallenge = "no_challenge"

// noChallengeError is a validation that nobody waits for.
type noChallengeError struct {
	name string
	err  error // nil if nothing more is known
}

func (e *noChallengeError) Error() string {
	text := fmt.Sprintf("no ACME challenge for %q is waiting for its answer", peertext.Printable(e.name))
	if e.err != nil {
		text += ": " + peertext.Printable(e.err.Error())
	}
	return text
}

func (e *noChallengeError) Unwrap() error { return e.err }

// Reason is a stable word for logs and metrics.
func (e *noChallengeError) Reason() string { return ReasonNoChallenge }
