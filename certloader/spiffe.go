package certloader

import (
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
