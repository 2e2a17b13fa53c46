package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// trustDomains is what SPIFFE peers must chain to: the CAs of their own trust
// domain, and of no other, for a CA speaks for its domain alone.
type trustDomains map[spiffeid.TrustDomain]*x509.CertPool

func newTrustDomains(bundles *x509bundle.Set) trustDomains {
	domains := make(trustDomains)
	for _, bundle := range bundles.Bundles() {
		// Never nil, which would be the system's trust: a domain without CAs
		// is one that nobody can be of.
		pool := x509.NewCertPool()
		for _, ca := range bundle.X509Authorities() {
			pool.AddCert(ca)
		}
		domains[bundle.TrustDomain()] = pool
	}
	return domains
}

// equal reports whether both trust the same CAs for the same domains.
func (d trustDomains) equal(other trustDomains) bool {
	return maps.EqualFunc(d, other, (*x509.CertPool).Equal)
}

// roots returns what the owner of a certificate must chain to. A [*VerifyError]
// refuses those that are no leaf X509-SVID (X509-SVID, 5.2), which chains say
// nothing about, and those of a trust domain that is not known here.
func (d trustDomains) roots(leaf *x509.Certificate) (*x509.CertPool, error) {
	refuse := func(reason, format string, args ...any) (*x509.CertPool, error) {
		return nil, &VerifyError{Certificate: leaf, reason: reason, detail: fmt.Sprintf(format, args...)}
	}
	id, err := x509svid.IDFromCert(leaf)
	switch {
	case err != nil:
		return refuse(reasonBadCertificate, "not an X509-SVID: %v", err)
	case id.Path() == "":
		return refuse(reasonBadCertificate, "not an X509-SVID of a workload: its ID %s is that of a trust domain", id)
	case leaf.IsCA, leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refuse(reasonBadCertificate, "not an X509-SVID of a workload: it is that of a CA")
	}
	roots := d[id.TrustDomain()]
	if roots == nil {
		return refuse(reasonUnknownCA, "the Workload API has no bundle of the trust domain of %s", id)
	}
	return roots, nil
}

// own returns the trust domain that identity is of. Without an identity it is
// the only domain that is known, if there is but one.
func (d trustDomains) own(identity *tls.Certificate) (spiffeid.TrustDomain, bool) {
	if identity != nil {
		id, err := x509svid.IDFromCert(identity.Leaf)
		return id.TrustDomain(), err == nil
	}
	for domain := range d {
		return domain, len(d) == 1
	}
	return spiffeid.TrustDomain{}, false
}

// KnowsOwnDomain reports whether it can be told which peers are of the Source's
// own trust domain: always, but where [WorkloadAPI] brought trust in several
// domains and no identity.
func (s *Source) KnowsOwnDomain() bool {
	current := s.current.Load()
	if current.domains == nil {
		return true
	}
	_, known := current.domains.own(current.Identity)
	return known
}

// InOwnDomain reports whether a verified peer is of the Source's own trust
// domain, so that the same people answer for the names in its certificate. A
// federated domain answers for its SPIFFE IDs, and writes what it likes into the
// other names. Trust that does not go by domains is one domain. Where it cannot
// be told (see [Source.KnowsOwnDomain]) nobody is.
func (s *Source) InOwnDomain(cs tls.ConnectionState) bool {
	current := s.current.Load()
	if current.domains == nil {
		return true
	}
	own, known := current.domains.own(current.Identity)
	if !known || len(cs.PeerCertificates) == 0 {
		return false
	}
	id, err := x509svid.IDFromCert(cs.PeerCertificates[0])
	return err == nil && id.MemberOf(own)
}
