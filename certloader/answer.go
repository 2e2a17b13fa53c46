package certloader

import (
	"crypto/x509"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"sallyport/certloader/keystore"
)

// newMaterial makes Material of an agent's answer; svid may be nil.
func (w *workload) newMaterial(svid *x509svid.SVID, bundles *x509bundle.Set) (*Material, error) {
	material := &Material{
		Roots:       x509.NewCertPool(),
		TrustOrigin: w.origin(),
		domains:     newTrustDomains(bundles),
	}
	for _, bundle := range bundles.Bundles() {
		for _, ca := range bundle.X509Authorities() {
			if !slices.ContainsFunc(material.CAs, ca.Equal) {
				material.CAs = append(material.CAs, ca)
				material.Roots.AddCert(ca)
			}
		}
	}
	if svid == nil {
		return material, nil
	}
	identity, err := keystore.Pair(svid.Certificates, svid.PrivateKey)
	if err != nil {
		return nil, err
	}
	material.Identity, material.Origin = identity, w.origin()
	return material, nil
}

// sameMaterial reports whether two answers say the same; a may be nil.
func sameMaterial(a, b *Material) bool {
	if a == nil || !a.domains.equal(b.domains) || (a.Identity == nil) != (b.Identity == nil) {
		return false
	}
	return a.Identity == nil || slices.EqualFunc(a.Identity.Certificate, b.Identity.Certificate, slices.Equal)
}
