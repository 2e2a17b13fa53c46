package certloader

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"sallyport/internal/peertext"
)

// WithCRLs returns a Provider that brings what provider brings, owns it, and
// adds the certificate revocation lists in the files at paths, in PEM or DER.
// Without paths it returns provider itself, and nobody's revocation is checked.
//
// With them the whole of a peer's chain is checked, as OpenSSL and with it
// nginx, HAProxy and stunnel do: each certificate but the root needs a list
// that its issuer signed, that is about it, that is good now, and that does not
// name it. Where there is none the peer is refused, for its revocation cannot
// be ruled out. The [VerifyError] has reason revoked, or crl_missing,
// crl_expired or crl_invalid (not signed by the issuer, or not valid yet).
func WithCRLs(provider Provider, paths ...string) Provider {
	if len(paths) == 0 {
		return provider
	}
	return &revoking{Provider: provider, paths: paths}
}

type revoking struct {
	Provider
	paths []string
}

// Load loads what the provider has, and then the lists.
func (r *revoking) Load(ctx context.Context) (*Material, error) {
	material, err := r.Provider.Load(ctx)
	if err != nil {
		return nil, err
	}
	with := *material
	with.crls = newCRLs(material)
	for _, path := range r.paths {
		if err := with.crls.read(path); err != nil {
			return nil, inFile("--crl", path, err)
		}
	}
	return &with, nil
}

// crls is the revocation lists that peers are checked against. Nil is no check.
type crls struct {
	all      []*crl
	byIssuer map[string][]*crl            // by the issuer's name, in DER
	known    []*x509.Certificate          // trusted CAs and the identities' intermediates
	issuers  map[string]*x509.Certificate // of trusted CAs that are not roots, by their DER
}

// newCRLs makes a set without lists.
//
// Trust may name intermediates too. For crypto/x509 a chain may end there, but
// an operator who names them beside their root has not said that they cannot
// be revoked.
func newCRLs(material *Material) *crls {
	s := &crls{byIssuer: make(map[string][]*crl), issuers: make(map[string]*x509.Certificate)}
	for _, cert := range material.CAs {
		if bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			continue
		}
		i := slices.IndexFunc(material.CAs, func(issuer *x509.Certificate) bool {
			return bytes.Equal(issuer.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(issuer) == nil
		})
		if i >= 0 {
			s.issuers[string(cert.Raw)] = material.CAs[i]
		}
	}
	s.known = slices.Clone(material.CAs)
	for _, one := range material.identities() {
		if one, err := one.complete(); err == nil { // newSnapshot says what is wrong with it
			s.known = append(s.known, one.intermediates...)
		}
	}
	return s
}

// read adds the lists in a file. Of issuers that are known they must be theirs;
// others show up with their certificates.
func (s *crls) read(path string) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	lists, err := parseCRLs(data)
	if err != nil {
		return err
	}
	for _, list := range lists {
		list.file = path
		named := slices.DeleteFunc(slices.Clone(s.known), func(cert *x509.Certificate) bool { return !list.names(cert) })
		if len(named) > 0 && !slices.ContainsFunc(named, list.signedBy) {
			return &VerifyError{reason: reasonCRLInvalid, detail: fmt.Sprintf(
				"the signature of the CRL is not that of %q, or that CA may not sign CRLs", peertext.Printable(list.list.Issuer.String()))}
		}
		issuer := string(list.list.RawIssuer)
		s.all = append(s.all, list)
		s.byIssuer[issuer] = append(s.byIssuer[issuer], list)
	}
	return nil
}

// check refuses a chain, leaf first, of which a certificate is revoked, or may
// be for all that is known.
func (s *crls) check(chain []*x509.Certificate, now time.Time) *VerifyError {
	var first *VerifyError
	chain = s.toRoot(chain)
	for i, cert := range chain[:len(chain)-1] {
		err := s.checkOne(cert, chain[i+1], now)
		if err == nil {
			continue
		}
		err.Certificate = cert
		if err.reason == reasonRevoked {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// toRoot returns the chain with the trusted issuers of its trusted end.
func (s *crls) toRoot(chain []*x509.Certificate) []*x509.Certificate {
	chain = slices.Clip(chain)
	for {
		issuer := s.issuers[string(chain[len(chain)-1].Raw)]
		if issuer == nil || slices.ContainsFunc(chain, issuer.Equal) {
			return chain
		}
		chain = append(chain, issuer)
	}
}

// checkOne is check for one certificate. A list that names it counts even if it
// has expired, and whatever others say.
func (s *crls) checkOne(cert, issuer *x509.Certificate, now time.Time) *VerifyError {
	problem := &VerifyError{reason: reasonCRLMissing, detail: "no --crl has the CRL of its issuer"}
	good := false
	for _, list := range s.byIssuer[string(issuer.RawSubject)] {
		if !list.scope.covers(cert) {
			continue
		}
		if !list.signedBy(issuer) {
			if problem.reason == reasonCRLMissing { // that one of the issuer's own has run out tells more
				problem = &VerifyError{reason: reasonCRLInvalid, detail: list.String() + " does not bear the signature of its issuer"}
			}
			continue
		}
		if list.revokes(cert) {
			return list.refuse(cert)
		}
		if err := list.checkDates(now); err != nil {
			problem = err
		} else {
			good = true
		}
	}
	if good {
		return nil
	}
	return problem
}

// filter returns those of a peer's chains that hold in the face of the lists,
// of which there must be one. The error is the one that tells most.
func (s *crls) filter(chains [][]*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	if s == nil {
		return chains, nil
	}
	var hold [][]*x509.Certificate
	var refusal *VerifyError
	for _, chain := range chains {
		err := s.check(chain, now)
		if err == nil {
			hold = append(hold, chain)
		} else if refusal == nil || err.reason == reasonRevoked {
			refusal = err
		}
	}
	if len(hold) == 0 && refusal != nil {
		return nil, refusal
	}
	return hold, nil
}

// checkAfter refuses to be what comes after previous if a list is not good now,
// unless previous has it too (that it has run out must not keep the rest from
// being loaded), and if a known CA has lost its list, which would lock out all
// whom it certified.
func (s *crls) checkAfter(previous *crls, now time.Time) error {
	if s == nil || previous == nil {
		return nil
	}
	for _, list := range s.all {
		if err := list.checkDates(now); err != nil && !previous.has(list) {
			return err
		}
	}
	for _, cert := range s.known {
		if previous.haveOf(cert) && !s.haveOf(cert) {
			return &VerifyError{reason: reasonCRLMissing, detail: fmt.Sprintf(
				"no --crl has the CRL of %q any more", peertext.Printable(cert.Subject.String()))}
		}
	}
	return nil
}

// haveOf reports whether there is a list that issuer signed.
func (s *crls) haveOf(issuer *x509.Certificate) bool {
	return slices.ContainsFunc(s.byIssuer[string(issuer.RawSubject)], func(c *crl) bool { return c.signedBy(issuer) })
}

func (s *crls) has(list *crl) bool {
	return slices.ContainsFunc(s.all, func(c *crl) bool { return bytes.Equal(c.list.Raw, list.list.Raw) })
}

// equal reports whether both are the same lists.
func (s *crls) equal(other *crls) bool {
	if s == nil || other == nil {
		return s == other
	}
	return slices.EqualFunc(s.all, other.all, func(a, b *crl) bool { return bytes.Equal(a.list.Raw, b.list.Raw) })
}
