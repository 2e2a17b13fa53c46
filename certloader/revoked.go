package certloader

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"
)

// Revoked returns a [*VerifyError] with reason revoked if a certificate of a
// peer, which was let in before, is revoked by now. Lists that are missing or
// have expired are no reason to part from it, and neither is trust that has
// changed since, nor a certificate's end. A peer that would be let in again,
// by another chain than the revoked one, stays.
//
// A peer that sent so many certificates of one name that what is above its own
// cannot be found out gets one with reason bad_certificate.
func (s *Source) Revoked(cs tls.ConnectionState) error {
	current := s.current.Load()
	if current.crls == nil || len(cs.PeerCertificates) == 0 {
		return nil
	}
	now := time.Now()
	end := cs.PeerCertificates[0].NotAfter
	then := now
	if end.Before(now) {
		then = end
	}
	chains, err := current.chains(cs.PeerCertificates, x509.ExtKeyUsageAny, then)
	if err == nil && then.Equal(now) {
		if hold, err := current.crls.filter(chains, now); err == nil && len(hold) > 0 {
			return nil
		}
	}
	ancestry := ancestry{crls: current.crls, sent: cs.PeerCertificates[1:], checks: maxSentChecks}
	ancestry.known = slices.Clone(current.crls.known)
	for _, chain := range chains { // the CAs of the system's trust are to be had in no other way
		ancestry.known = append(ancestry.known, chain[len(chain)-1])
	}
	if refusal := ancestry.revoked(cs.PeerCertificates[0]); refusal != nil {
		return refusal
	}
	return nil
}

// maxSentChecks is how many signatures are checked with keys that a peer sent;
// crypto/x509 checks as many to find a chain.
const maxSentChecks = 100

// ancestry is everything that may be above a certificate, whoever trusts it and
// at whatever time. Chains will not do to find out who is revoked: what a peer
// sends beside what it needs must not decide which of them are looked at, or
// for which moment.
type ancestry struct {
	crls   *crls
	known  []*x509.Certificate
	sent   []*x509.Certificate
	checks int // how many more signatures to check with keys from sent
}

// revoked refuses leaf if it, or a certificate above it, is revoked. That it
// cannot be told is a refusal too.
func (a *ancestry) revoked(leaf *x509.Certificate) *VerifyError {
	reached := []*x509.Certificate{leaf}
	for i := 0; i < len(reached); i++ { // reached grows meanwhile
		cert := reached[i]
		lists := a.crls.naming(cert)
		for _, issuer := range a.known {
			if !issued(issuer, cert) {
				continue
			}
			for _, list := range lists {
				if list.signedBy(issuer) {
					return list.refuse(cert)
				}
			}
			reached = appendNew(reached, issuer)
		}
		for _, issuer := range a.sent {
			if !mayIssue(issuer, cert) || !a.spend() || !issued(issuer, cert) {
				continue
			}
			for _, list := range lists {
				// Not by signedBy, which would remember whatever peers make up.
				if a.spend() && list.list.CheckSignatureFrom(issuer) == nil {
					return list.refuse(cert)
				}
			}
			reached = appendNew(reached, issuer)
		}
	}
	if a.checks < 0 {
		return &VerifyError{Certificate: leaf, reason: reasonBadCertificate,
			detail: "too many certificates were sent with it to tell whether one is revoked"}
	}
	return nil
}

// spend takes one from the checks, and reports whether there was one. Less than
// none are left from then on.
func (a *ancestry) spend() bool {
	if a.checks <= 0 {
		a.checks = -1
		return false
	}
	a.checks--
	return true
}

// naming returns the lists in the name of cert's issuer that revoke it, if the
// issuer signed them.
func (s *crls) naming(cert *x509.Certificate) []*crl {
	var lists []*crl
	for _, list := range s.byIssuer[string(cert.RawIssuer)] {
		if list.scope.covers(cert) && list.revokes(cert) {
			lists = append(lists, list)
		}
	}
	return lists
}

// mayIssue reports whether issuer has the name of cert's issuer, without being
// the same CA as cert: a root's renewal is not above it.
func mayIssue(issuer, cert *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) &&
		!(bytes.Equal(issuer.RawSubject, cert.RawSubject) && bytes.Equal(issuer.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo))
}

// issued reports whether issuer's key signed cert.
func issued(issuer, cert *x509.Certificate) bool {
	return mayIssue(issuer, cert) && cert.CheckSignatureFrom(issuer) == nil
}

// appendNew appends cert unless it is there.
func appendNew(certs []*x509.Certificate, cert *x509.Certificate) []*x509.Certificate {
	if slices.ContainsFunc(certs, cert.Equal) {
		return certs
	}
	return append(certs, cert)
}
