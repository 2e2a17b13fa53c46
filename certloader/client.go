package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
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
// the current trust. Setting a ClientSessionCache on it is safe: resumed
// sessions are verified like others. Sessions resume as whom they began,
// though, so a reload's new identity shows once they have run out.
func (s *Source) ClientConfig(opts ClientOptions) *tls.Config {
	config := baseConfig(opts.NextProtos, opts.CipherSuites, opts.MaxVersion)
	config.ServerName = opts.ServerName
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if identity := s.current.Load().Identity; identity != nil {
			return identity, nil
		}
		return new(tls.Certificate), nil // sends none
	}
	// crypto/tls would verify against a pool that never changes, and not again
	// on resumption. VerifyConnection does all of it instead.
	config.InsecureSkipVerify = true
	named := s.current.Load().domains == nil // all that a provider brings is of one kind
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		var err error
		if opts.Pinned != nil {
			err = opts.Pinned(cs)
		} else {
			cs.VerifiedChains, err = s.verifyServer(cs, opts.ServerName, named)
		}
		if err != nil || opts.Authorize == nil {
			return err
		}
		return opts.Authorize(cs)
	}
	return config
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
