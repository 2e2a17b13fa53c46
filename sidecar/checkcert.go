package sidecar

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/config"
)

// withExtensions is the version of certificates that say whether they are a CA's (RFC 5280, 4.1.2.1).
const withExtensions = 3

// fewCAs is how many CAs a report lists one by one. A bundle of all the public ones would drown the rest.
const fewCAs = 10

// identities reports on all that the tunnel has to show: its identity, and further ones.
func (c *checkup) identities(t *config.Tunnel, chains [][]*x509.Certificate, cas []*x509.Certificate) {
	if len(chains) == 0 {
		c.identity(t, nil, cas)
	}
	for i, chain := range chains {
		one := *t
		if i > 0 {
			one.Identity = t.Identities[i-1]
		}
		c.identity(&one, chain, cas)
	}
}

// identity reports on the certificate that the tunnel shows and on its chain, leaf first.
func (c *checkup) identity(t *config.Tunnel, chain, cas []*x509.Certificate) {
	switch {
	case t.DisableTLS:
		c.line("  identity     none: the listener speaks no TLS")
		return
	case len(chain) == 0 && len(t.Routes) > 0:
		c.line("  identity     none: its routes have theirs")
		return
	case len(chain) == 0 && t.SendsNoCertificate():
		c.line("  identity     none: no certificate is sent")
		return
	case len(chain) == 0: // source has said why
		return
	}
	leaf, from := chain[0], identityFlag(t)
	c.line("  identity     %s", from)
	c.line("    key        %s, fits the certificate", keyKind(leaf))
	c.line("    pin        %s", auth.PinOf(leaf))
	c.line("    names      %s", strings.Join(names(leaf), ", "))
	for i, cert := range chain {
		label := "chain"
		if i > 0 {
			label = ""
		}
		c.certificate(label, "certificate", cert)
		if fault := validity(cert, c.now); fault != "" {
			c.problem(fmt.Errorf("%s: %s %s", from, title(cert), fault))
		}
		if fault := weakness(cert); fault != "" {
			c.problem(fmt.Errorf("%s: %s %s", from, title(cert), fault))
		}
		issued := func(child *x509.Certificate) bool { return child.CheckSignatureFrom(cert) == nil }
		if i > 0 && !slices.ContainsFunc(chain[:i], issued) {
			c.problem(fmt.Errorf("%s: %s is in the chain but issued nothing in it", from, title(cert)))
		}
	}
	last := chain[len(chain)-1]
	trusted := ""
	if slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return last.CheckSignatureFrom(ca) == nil }) {
		trusted = ", which is trusted here too"
	}
	c.line("    %-10s %s%s", "issued by", last.Issuer, trusted)
	usage, peers := x509.ExtKeyUsageServerAuth, peersOf(t)
	if t.Mode == config.Client {
		usage = x509.ExtKeyUsageClientAuth
	}
	if end := openEnd(chain, cas); end != nil && !renewsItself(&t.Identity) {
		c.line("    %-10s the chain ends at %s, whose issuer %s is not in it, nor trusted here: if that is no root, add it, or %s will refuse the certificate",
			"NOTE", title(end), end.Issuer, peers)
	}
	if !goodFor(leaf, usage) {
		c.problem(fmt.Errorf("%s: %s will refuse the certificate: its extended key usage leaves out what %s mode needs", from, peers, t.Mode))
	}
	if t.Mode == config.Server && len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs) == 0 {
		c.problem(fmt.Errorf("%s: %s will refuse the certificate: it is for no name (it has no SAN)", from, peers))
	}
}

// trust reports on whom the tunnel trusts.
func (c *checkup) trust(t *config.Tunnel, cas []*x509.Certificate) {
	origin := "--cacert " + t.CACert
	switch {
	case t.DisableTLS:
		return
	case t.Mode == config.Server && len(t.Routes) > 0 && t.Access.IsZero() && !t.DisableAuthentication:
		c.line("  trust        nobody is let in but by a route")
		return
	case t.Mode == config.Server && t.DisableAuthentication:
		c.line("  trust        nobody is asked for a certificate")
		return
	case len(t.Access.Pins) > 0:
		c.line("  trust        %s, whatever else a certificate says; no CA counts", count(len(t.Access.Pins), "pinned key"))
		return
	case t.Identity.WorkloadAPI.Use:
		origin = "the Workload API"
	case t.CACert == "":
		c.line("  trust        the system's CAs")
		if t.Mode == config.Server && t.Access.All {
			c.line("    %-10s whoever has a client certificate of any of them comes in; --cacert names those that are meant", "NOTE")
		}
		return
	}
	c.bundle("trust", origin, cas)
}

// bundle reports on CAs that somebody is to chain to.
func (c *checkup) bundle(label, origin string, cas []*x509.Certificate) {
	c.line("  %-12s %s, %s", label, origin, count(len(cas), "CA"))
	valid := 0
	for _, ca := range cas {
		fault := validity(ca, c.now)
		if fault == "" {
			valid++
		}
		if len(cas) <= fewCAs || fault != "" {
			c.certificate("", "CA", ca)
		}
		if !ca.IsCA && ca.Version == withExtensions {
			c.line("    %-10s %s is no CA, so that nobody but its owner is let in by it: give the certificate of the CA that issued it",
				"NOTE", title(ca))
		}
	}
	if valid == 0 {
		c.problem(fmt.Errorf("%s: no CA in it is valid now, so that every peer will be refused", origin))
	}
}

// revocation reports on the revocation lists.
func (c *checkup) revocation(crls []certloader.CRL) {
	for _, crl := range crls {
		c.line("  crl          --crl %s: %s, until %s (%s), issued by %s", crl.Path, count(crl.Entries, "revoked certificate"),
			date(crl.NextUpdate), left(crl.NextUpdate, c.now), crl.Issuer)
		switch {
		case crl.Unused:
			c.line("    %-10s it counts for nobody: its issuer is above the trusted CAs; --cacert has to name it too", "WARNING")
			continue
		case crl.Superseded:
			c.line("    %-10s another list of that issuer lasts longer", "")
			continue
		}
		c.ends = append(c.ends, ending{c.origin.Worded("--crl " + crl.Path), crl.NextUpdate})
		switch {
		case !crl.NextUpdate.After(c.now):
			c.problem(fmt.Errorf("--crl %s: expired at %s, so that its issuer's certificates will be refused", crl.Path, date(crl.NextUpdate)))
		case crl.ThisUpdate.After(c.now):
			c.problem(fmt.Errorf("--crl %s: not valid before %s, so that its issuer's certificates will be refused", crl.Path, date(crl.ThisUpdate)))
		}
	}
}

// certificate reports until when one certificate is good.
func (c *checkup) certificate(label, what string, cert *x509.Certificate) {
	c.line("    %-10s %s, until %s (%s)", label, title(cert), date(cert.NotAfter), left(cert.NotAfter, c.now))
	c.ends = append(c.ends, ending{what + " " + title(cert), cert.NotAfter})
}

// identityFlag says where the identity comes from, as the operator wrote it.
func identityFlag(t *config.Tunnel) string {
	switch id := &t.Identity; {
	case id.Keystore != "":
		return "--keystore " + id.Keystore
	case id.WorkloadAPI.Use:
		return "--use-workload-api-addr " + id.WorkloadAPI.Address
	case id.ACME.Name != "":
		return "--auto-acme-cert " + id.ACME.Name
	case id.AutoTLS.Use:
		return "--auto-tls"
	case id.PKCS11.Module != "":
		return "--cert " + id.Cert + " with --pkcs11-module " + id.PKCS11.Module
	}
	return "--cert " + t.Identity.Cert + " with --key " + t.Identity.Key
}

// validity is what is wrong with a certificate's dates; "" is nothing.
func validity(cert *x509.Certificate, now time.Time) string {
	switch {
	case now.Before(cert.NotBefore):
		return "is not valid before " + date(cert.NotBefore)
	case now.After(cert.NotAfter):
		return "expired at " + date(cert.NotAfter)
	}
	return ""
}

// goodFor tells whether a certificate may be used in that way (RFC 5280, 4.2.1.12).
func goodFor(cert *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, usage) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// weakness is what has peers refuse a certificate's key; "" is nothing. OpenSSL does from its security level 2 on, which is
// what distributions set.
func weakness(cert *x509.Certificate) string {
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
		return fmt.Sprintf("has an RSA key of %d bits, and peers refuse less than 2048", key.N.BitLen())
	}
	return ""
}

// openEnd returns the certificate where the chain ends without having led to a root, or to a CA that is trusted here or by
// the system; nil if it has led to one.
func openEnd(chain, cas []*x509.Certificate) *x509.Certificate {
	top := chain[0]
	for _, cert := range chain[1:] {
		if top.CheckSignatureFrom(cert) == nil {
			top = cert
		}
	}
	issued := func(ca *x509.Certificate) bool { return top.Equal(ca) || top.CheckSignatureFrom(ca) == nil }
	if bytes.Equal(top.RawSubject, top.RawIssuer) || slices.ContainsFunc(cas, issued) {
		return nil
	}
	if _, err := top.Verify(x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		return nil
	}
	return top
}

// peersOf is what those are called at the other end of the tunnel's TLS.
func peersOf(t *config.Tunnel) string {
	if t.Mode == config.Client {
		return "servers"
	}
	return "clients"
}

// title is what a certificate is called: by its subject or, where it has none, by one of its names or its serial number.
func title(cert *x509.Certificate) string {
	if subject := cert.Subject.String(); subject != "" {
		return subject
	}
	if all := alternativeNames(cert); len(all) > 0 {
		return all[0]
	}
	return "serial number " + cert.SerialNumber.Text(16)
}

// names are what a certificate is for.
func names(cert *x509.Certificate) []string {
	if all := alternativeNames(cert); len(all) > 0 {
		return all
	}
	return []string{"none but the subject"}
}

func alternativeNames(cert *x509.Certificate) []string {
	all := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	for _, uri := range cert.URIs {
		all = append(all, uri.String())
	}
	return all
}

func keyKind(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return cert.PublicKeyAlgorithm.String()
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// left is how long there is until a time, in words.
func left(end, now time.Time) string {
	switch d := end.Sub(now); {
	case d <= 0:
		return "EXPIRED"
	case d < 2*time.Hour:
		return count(int(d/time.Minute), "minute") + " left"
	case d < 2*day:
		return count(int(d/time.Hour), "hour") + " left"
	default:
		return count(int(d/day), "day") + " left"
	}
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
