package sidecar

import (
	"crypto/x509"
	"fmt"
	"slices"

	"sallyport/certloader"
	"sallyport/config"
)

// missingLists reports on the CAs that have no revocation list, where --crl has peers checked against lists: each certificate
// in a peer's chain needs one of its issuer. Beside the trusted CAs it looks at those in the tunnel's own chain that they
// issued, because peers are likely to have the same ones.
func (c *checkup) missingLists(t *config.Tunnel, chain, cas []*x509.Certificate, crls []certloader.CRL) {
	if len(crls) == 0 || t.DisableAuthentication && t.Mode == config.Server {
		return
	}
	lacks := func(ca *x509.Certificate) bool {
		isLeaf := ca.BasicConstraintsValid && !ca.IsCA // trusted by itself; nobody is below it
		return !isLeaf && !slices.ContainsFunc(crls, func(crl certloader.CRL) bool { return crl.Issuer == ca.Subject.String() })
	}
	trusted := slices.DeleteFunc(slices.Clone(cas), func(ca *x509.Certificate) bool { return validity(ca, c.now) != "" })
	missing := slices.DeleteFunc(slices.Clone(trusted), func(ca *x509.Certificate) bool { return !lacks(ca) })
	all := len(trusted) > 0 && len(missing) == len(trusted)
	for i := len(chain) - 1; i > 0; i-- {
		between := chain[i]
		issued := func(ca *x509.Certificate) bool { return between.CheckSignatureFrom(ca) == nil }
		if slices.ContainsFunc(trusted, issued) && !slices.ContainsFunc(trusted, between.Equal) {
			trusted = append(trusted, between) // so that the one below it is too
			if lacks(between) {
				missing = append(missing, between)
			}
		}
	}
	for i, ca := range missing {
		if i == fewCAs {
			c.line("    %-10s and of %s more", "", count(len(missing)-i, "CA"))
			break
		}
		c.line("    %-10s no list of %s: %s with certificates of it will be refused (crl_missing)", "NOTE", title(ca), peersOf(t))
	}
	if all {
		c.problem(fmt.Errorf("--crl: no list of any CA that is trusted, so that all %s will be refused (crl_missing); give that of %s too", peersOf(t), title(missing[0])))
	}
}
