package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync/atomic"
)

// ServerOptions says how [Source.ServerConfig] is to serve.
type ServerOptions struct {
	// Authorize decides about a client whose chain has been verified; it finds
	// VerifiedChains set. It is called for every handshake, resumed ones
	// included, by many goroutines at once. Nil, with Pinned nil as well, means
	// that no client certificate is asked for.
	Authorize func(tls.ConnectionState) error

	// AuthorizeFrom takes the place of Authorize where it also matters from where
	// a client comes: it is called as a handshake begins, and what it returns
	// decides about that one. It costs a config for each connection.
	AuthorizeFrom func(remote net.Addr) func(tls.ConnectionState) error

	// Pinned, if it is set, decides about a client's certificate in place of its
	// chain, its dates, its usage and the revocation lists, none of which are
	// looked at. It finds VerifiedChains empty, and is called as Authorize is,
	// which has to agree if it is set too. The client is not told of any CA.
	Pinned func(tls.ConnectionState) error

	// Trust is the Source whose trust and CRLs of the moment decide about clients.
	// Nil is the one that serves.
	Trust *Source

	// Scope has sessions be resumed by configs of the same Scope alone, be it that
	// keys or clients bring them to others. It goes with [RouteConfig], which wants
	// one for each config; else it is empty.
	Scope string

	// NextProtos is offered by ALPN; empty is no ALPN.
	NextProtos []string

	// CipherSuites is for TLS 1.2; nil is those with forward secrecy and AEAD.
	CipherSuites []uint16

	// MaxVersion is the latest TLS version; 0 is no limit. The earliest is 1.2.
	MaxVersion uint16

	// NoResumption has every handshake be a full one: no tickets are issued.
	NoResumption bool

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
// the next handshake is a full one. They are sealed with the keys of
// [WithTicketKeys]; without, with keys of the config's own, which are replaced
// every day and kept for a week.
func (s *Source) ServerConfig(opts ServerOptions) *tls.Config {
	if opts.Trust == nil {
		opts.Trust = s
	}
	outer := baseConfig(opts.NextProtos, opts.CipherSuites, opts.MaxVersion)
	var latest atomic.Pointer[serverState]
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		current, trust := s.current.Load(), opts.Trust.current.Load()
		if current.Identity == nil {
			return nil, errors.New("no certificate to serve with")
		}
		state := latest.Load()
		if state == nil || state.snapshot != current || state.trust != trust {
			state = &serverState{snapshot: current, trust: trust, config: innerConfig(outer, current, trust, opts)}
			if opts.Challenges && current.Challenge != nil {
				state.challenge = challengeConfig(current.Challenge, opts)
			}
			latest.Store(state)
		}
		if state.challenge != nil && isChallenge(hello) {
			return state.challenge, nil
		}
		if opts.AuthorizeFrom == nil {
			return state.config, nil
		}
		authorize := opts.AuthorizeFrom(hello.Conn.RemoteAddr())
		if authorize == nil {
			return nil, errors.New("nobody decides about this client")
		}
		config := state.config.Clone()
		config.VerifyConnection = opts.verify(authorize)
		return config, nil
	}
	return outer
}

// serverState is the configs that go with a snapshot of the identity and one of
// the trust; most often they are the same.
type serverState struct {
	snapshot  *snapshot
	trust     *snapshot
	config    *tls.Config
	challenge *tls.Config // for an ACME CA; nil where none is to be answered
}

// innerConfig is what serves clients that come while snap and trust are current.
// Its session tickets are sealed with snap's keys or, if it has none, with
// outer's, which crypto/tls rotates.
func innerConfig(outer *tls.Config, snap, trust *snapshot, opts ServerOptions) *tls.Config {
	config := baseConfig(opts.NextProtos, opts.CipherSuites, opts.MaxVersion)
	if snap.showcase != nil {
		config.GetCertificate = snap.showcase.choose
	} else {
		config.Certificates = []tls.Certificate{*snap.Identity}
	}
	config.SessionTicketsDisabled = opts.NoResumption
	keys, shared := outer, len(snap.ticketKeys) > 0
	if shared {
		config.SetSessionTicketKeys(snap.ticketKeys)
		keys = config
	}
	asks := opts.Authorize != nil || opts.AuthorizeFrom != nil || opts.Pinned != nil
	// Where one certificate is shown to all, no name makes a difference.
	byName := opts.Scope != "" || snap.showcase != nil
	if asks || byName {
		bindTickets(config, keys, append(trust.ticketMark(shared), opts.Scope...), byName)
	}
	if !asks {
		return config
	}
	// crypto/tls is to ask for a certificate, hinting at whose, but to leave the
	// verdict to VerifyConnection: its own is not taken again on resumption.
	config.ClientAuth = tls.RequireAnyClientCert
	if opts.Pinned == nil {
		config.ClientCAs = trust.Roots
	}
	config.VerifyConnection = opts.verify(opts.Authorize)
	return config
}

// verify returns what decides about a client; authorize, which may be nil, has
// the last word.
func (o *ServerOptions) verify(authorize func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		var err error
		if o.Pinned != nil {
			err = o.Pinned(cs)
		} else {
			cs.VerifiedChains, err = o.Trust.verifyChain(cs, x509.ExtKeyUsageClientAuth)
			keepOnce(cs.PeerCertificates, cs.VerifiedChains)
		}
		if err != nil || authorize == nil {
			return err
		}
		return authorize(cs)
	}
}
