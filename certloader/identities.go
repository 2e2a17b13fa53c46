package certloader

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// WithIdentities returns a Provider that brings what provider brings, owns it,
// and adds the identities in further files, for servers: each client is shown the
// one that fits it best. Without more it returns provider itself.
//
// One that a client can use, by the signature algorithms and versions that it
// offers, goes before all others. Among these, one for the very name that the
// client asks for goes before one for it by a wildcard; of several, ECDSA and
// Ed25519 go before RSA, which costs a server the most. If there is none for the
// name it is the first of all, that of provider before the others.
func WithIdentities(provider Provider, more ...FileOptions) Provider {
	if len(more) == 0 {
		return provider
	}
	return &furthering{provider, more}
}

type furthering struct {
	Provider
	more []FileOptions
}

// Load loads what the provider has, and then the others.
func (f *furthering) Load(ctx context.Context) (*Material, error) {
	material, err := f.Provider.Load(ctx)
	if err != nil {
		return nil, err
	}
	with := *material
	with.further = nil
	for _, opts := range f.more {
		var one Material
		if err := opts.loadIdentity(&one); err != nil {
			return nil, err
		}
		if one.Identity == nil {
			return nil, errors.New("one of several identities is in no file")
		}
		with.further = append(with.further, identity{Certificate: one.Identity, origin: one.Origin})
	}
	return &with, nil
}

// identity is one that a snapshot holds.
type identity struct {
	*tls.Certificate
	origin        string
	intermediates []*x509.Certificate // the chain without the leaf; a snapshot's have it
}

// identities are all that m has, those of a snapshot without their intermediates.
func (m *Material) identities() []identity {
	if m.Identity == nil {
		return m.further
	}
	return append([]identity{{Certificate: m.Identity, origin: m.Origin}}, m.further...)
}

// complete returns the identity with its intermediates.
func (i identity) complete() (identity, error) {
	if len(i.Certificate.Certificate) == 0 || i.Leaf == nil || i.PrivateKey == nil {
		return i, fmt.Errorf("%s: the identity is incomplete", i.origin)
	}
	i.intermediates = nil
	for n, der := range i.Certificate.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return i, fmt.Errorf("%s: certificate %d: %w", i.origin, n+2, err)
		}
		i.intermediates = append(i.intermediates, cert)
	}
	return i, nil
}

// showcase is several identities to choose from. It never changes.
type showcase struct {
	all   []*tls.Certificate
	named Names[[]*tls.Certificate] // for each name, the cheapest first
}

func newShowcase(identities []identity) *showcase {
	s := new(showcase)
	for _, one := range identities {
		s.all = append(s.all, one.Certificate)
	}
	for _, cheap := range []bool{true, false} {
		for _, cert := range s.all {
			if (cert.Leaf.PublicKeyAlgorithm != x509.RSA) != cheap {
				continue
			}
			for _, name := range cert.Leaf.DNSNames {
				known, _ := s.named.Get(name)
				s.named.Set(name, append(known, cert))
			}
		}
	}
	return s
}

// choose is a tls.Config's GetCertificate.
func (s *showcase) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	exact, _ := s.named.Exact(hello.ServerName)
	wildcard, _ := s.named.Wildcard(hello.ServerName)
	nameless := *hello // SupportsCertificate would not have a certificate for another name
	nameless.ServerName = ""
	for _, rank := range [][]*tls.Certificate{exact, wildcard, s.all} {
		for _, cert := range rank {
			if nameless.SupportsCertificate(cert) == nil {
				return cert, nil
			}
		}
	}
	return s.all[0], nil // crypto/tls says what it lacks
}
