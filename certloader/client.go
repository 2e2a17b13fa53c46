package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// ClientOptions says how [Source.ClientConfig] is to connect.
type ClientOptions struct {
	// ServerName is the DNS name or IP address that the server's certificate
	// must be for, and the name sent to it (SNI; an IP address is not sent). It
	// is required: without one every server is refused. With trust from
	// [WorkloadAPI] it is sent if there is one, and plays no other part:
	// X509-SVIDs are for SPIFFE IDs, about which Authorize decides. With Pinned
	// it plays no other part either.
	ServerName string

	// Authorize decides about a server whose chain and name have been verified;
	// it finds VerifiedChains set. Nil lets all such servers pass. It is called
	// for every handshake, by many goroutines at once.
	Authorize func(tls.ConnectionState) error

	// AuthorizeFrom takes the place of Authorize in [Source.ClientConfigs] where it
	// also matters where a server is: it is called as a handshake begins.
	AuthorizeFrom func(remote net.Addr) func(tls.ConnectionState) error

	// Resume has [Source.ClientConfigs] resume sessions.
	Resume bool

	// Pinned, if it is set, decides about a server's certificate in place of its
	// chain, its dates, its usage, the revocation lists and the name, none of
	// which are looked at. It finds VerifiedChains empty, and is called as
	// Authorize is, which has to agree if it is set too.
	Pinned func(tls.ConnectionState) error

	// NextProtos, CipherSuites and MaxVersion are as in ServerOptions.
	NextProtos   []string
	CipherSuites []uint16
	MaxVersion   uint16
}

// ClientConfig returns a config for tls.Client that shows the current identity,
// if there is one and the server asks for it, and verifies the server against
// the current trust. It resumes nothing, and does not look at AuthorizeFrom.
func (s *Source) ClientConfig(opts ClientOptions) *tls.Config {
	config := baseConfig(opts.NextProtos, opts.CipherSuites, opts.MaxVersion)
	config.ServerName = opts.ServerName
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return s.current.Load().shown(), nil
	}
	// crypto/tls would verify against a pool that never changes, and not again
	// on resumption. VerifyConnection does all of it instead.
	config.InsecureSkipVerify = true
	config.VerifyConnection = s.verifyTarget(&opts, opts.Authorize)
	return config
}

// ClientConfigs is ClientConfig for many connections: it returns what gives each
// its config, from the address that it leads to.
//
// With Resume a connection resumes a session that another one to the same
// address has begun, with the same identity and under the same trust. The server
// is verified like any other, as it is known from that session.
func (s *Source) ClientConfigs(opts ClientOptions) func(remote net.Addr) *tls.Config {
	all := s.ClientConfig(opts)
	if !opts.Resume && opts.AuthorizeFrom == nil {
		return func(net.Addr) *tls.Config { return all }
	}
	var sessions resuming
	return func(remote net.Addr) *tls.Config {
		config := all.Clone()
		if opts.AuthorizeFrom != nil {
			authorize := opts.AuthorizeFrom(remote)
			if authorize == nil {
				authorize = func(tls.ConnectionState) error { return errors.New("nobody decides about this server") }
			}
			config.VerifyConnection = s.verifyTarget(&opts, authorize)
		}
		if opts.Resume {
			// Whoever begins a session resumes it, so who that is must not change
			// on the way.
			current := s.current.Load()
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return current.shown(), nil
			}
			sessions.attach(config, current, remote)
		}
		return config
	}
}

// shown is what a client shows to those who ask for a certificate. Without an
// identity there is none in it.
func (s *snapshot) shown() *tls.Certificate {
	if s.Identity == nil {
		return new(tls.Certificate)
	}
	return s.Identity
}

// verifyTarget returns what decides about a server; authorize, which may be nil,
// has the last word.
func (s *Source) verifyTarget(opts *ClientOptions, authorize func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	named := s.current.Load().domains == nil // all that a provider brings is of one kind
	return func(cs tls.ConnectionState) error {
		var err error
		if opts.Pinned != nil {
			err = opts.Pinned(cs)
		} else {
			cs.VerifiedChains, err = s.verifyServer(cs, opts.ServerName, named)
		}
		if err != nil || authorize == nil {
			return err
		}
		return authorize(cs)
	}
}

// verifyServer checks a server's chain and, unless its trust goes by other
// names, that it is for the host. It returns the chains that hold.
func (s *Source) verifyServer(cs tls.ConnectionState, host string, named bool) ([][]*x509.Certificate, error) {
	if named && host == "" {
		return nil, errors.New("no server name to verify the certificate against")
	}
	chains, err := s.verifyChain(cs, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	if named {
		if err := verifyName(cs.PeerCertificates[0], host); err != nil {
			return nil, err
		}
	}
	return chains, nil
}
