package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
)

// ServerOptions says how [Source.ServerConfig] is to serve.
type ServerOptions struct {
	// Authorize decides about a client whose chain has been verified; it finds
	// VerifiedChains set. It is called for every handshake, resumed ones
	// included, by many goroutines at once. Nil means that no client certificate
	// is asked for.
	Authorize func(tls.ConnectionState) error

	// NextProtos is offered by ALPN; empty is no ALPN.
	NextProtos []string

	// CipherSuites is for TLS 1.2; nil is those with forward secrecy and AEAD.
	CipherSuites []uint16

	// MaxVersion is the latest TLS version; 0 is no limit. The earliest is 1.2.
	MaxVersion uint16

	// Challenges has an ACME CA's validations answered where the identity came
	// from one. They are let in without a certificate, so whoever sets this must
	// forward nothing for a connection that negotiated [ChallengeProtocol].
	Challenges bool
}

// ServerConfig returns a config for tls.Server or tls.Listener that shows the
// current identity and verifies clients against the current trust. Without an
// identity every handshake fails. What is set on the returned config later has
// no effect on handshakes.
//
// Session tickets stay good across a reload unless it changed the trust; then
// the next handshake is a full one.
func (s *Source) ServerConfig(opts ServerOptions) *tls.Config {
	outer := baseConfig(opts.NextProtos, opts.CipherSuites, opts.MaxVersion)
	var latest atomic.Pointer[serverState]
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		current := s.current.Load()
		if current.Identity == nil {
			return nil, errors.New("no certificate to serve with")
		}
		state := latest.Load()
		if state == nil || state.snapshot != current {
			state = &serverState{snapshot: current, config: s.innerConfig(outer, current, opts)}
			if opts.Challenges && current.Challenge != nil {
				state.challenge = challengeConfig(current.Challenge, opts)
			}
			latest.Store(state)
		}
		if state.challenge != nil && isChallenge(hello) {
			return state.challenge, nil
		}
		return state.config, nil
	}
	return outer
}

// serverState is the configs that go with a snapshot.
type serverState struct {
	snapshot  *snapshot
	config    *tls.Config
	challenge *tls.Config // for an ACME CA; nil where none is to be answered
}

// innerConfig is what serves clients that come while snap is current. Its
// session tickets are sealed with outer's keys, which crypto/tls rotates.
func (s *Source) innerConfig(outer *tls.Config, snap *snapshot, opts ServerOptions) *tls.Config {
	config := baseConfig(opts.NextProtos, opts.CipherSuites, opts.MaxVersion)
	config.Certificates = []tls.Certificate{*snap.Identity}
	if opts.Authorize == nil {
		return config
	}
	// crypto/tls is to ask for a certificate, hinting at whose, but to leave the
	// verdict to VerifyConnection: its own is not taken again on resumption.
	config.ClientAuth = tls.RequireAnyClientCert
	config.ClientCAs = snap.Roots
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		chains, err := s.verifyChain(cs, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return err
		}
		cs.VerifiedChains = chains
		return opts.Authorize(cs)
	}
	bindTickets(config, outer, snap.generation)
	return config
}
