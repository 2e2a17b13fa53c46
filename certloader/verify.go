package certloader

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sallyport/internal/peertext"
)

// VerifyError is the refusal of a certificate.
type VerifyError struct {
	// Certificate is the one at fault: the peer's own, or one in its chain. Nil
	// if the peer showed none.
	Certificate *x509.Certificate

	// Err is the cause as crypto/x509 gave it; nil where there was none.
	Err error

	reason string
	detail string
}

// Error names the certificate's owner (by its URI where it has one, else by its
// subject) and issuer, and the dates or names that matter. What the peer chose
// is quoted or made printable, and cut to length.
func (e *VerifyError) Error() string {
	if e.Certificate == nil {
		return e.detail
	}
	return fmt.Sprintf("certificate %q issued by %q: %s",
		peertext.Printable(owner(e.Certificate)), peertext.Printable(e.Certificate.Issuer.String()), peertext.Printable(e.detail))
}

// owner is what the owner of a certificate is called.
func owner(cert *x509.Certificate) string {
	subject := cert.Subject.String()
	switch {
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case subject == "" && len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	}
	return subject
}

// Unwrap returns Err.
func (e *VerifyError) Unwrap() error { return e.Err }

// Reason is what is wrong in one stable word, for logs and metrics:
// no_certificate, unknown_ca, expired, not_yet_valid, name_mismatch, revoked,
// crl_missing, crl_expired, crl_invalid, or bad_certificate for all else (wrong
// usage, broken constraint…).
func (e *VerifyError) Reason() string { return e.reason }

// The reasons of a VerifyError.
const (
	reasonNoCertificate  = "no_certificate"
	reasonUnknownCA      = "unknown_ca"
	reasonExpired        = "expired"
	reasonNotYetValid    = "not_yet_valid"
	reasonNameMismatch   = "name_mismatch"
	reasonBadCertificate = "bad_certificate"
	reasonRevoked        = "revoked"
	reasonCRLMissing     = "crl_missing"
	reasonCRLExpired     = "crl_expired"
	reasonCRLInvalid     = "crl_invalid"
)

// Reasons are all that a [*VerifyError] may have.
func Reasons() []string {
	return []string{
		reasonNoCertificate, reasonUnknownCA, reasonExpired, reasonNotYetValid, reasonNameMismatch, reasonBadCertificate,
		reasonRevoked, reasonCRLMissing, reasonCRLExpired, reasonCRLInvalid,
	}
}

// verifyChain checks the peer's chain against the trust of this moment and
// returns the chains that hold (RFC 5280, 6.1). Usage is what the peer's
// certificate must be good for.
func (s *Source) verifyChain(cs tls.ConnectionState, usage x509.ExtKeyUsage) ([][]*x509.Certificate, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, &VerifyError{reason: reasonNoCertificate, detail: "the peer showed no certificate"}
	}
	return s.current.Load().verify(cs.PeerCertificates, usage, time.Now())
}

// verify returns the chains of certs, leaf first, that hold now.
func (s *snapshot) verify(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) ([][]*x509.Certificate, error) {
	var peer shown
	if s.verified != nil {
		peer = newShown(certs, usage)
		hold, err := s.crls.filter(s.verified.recall(peer, now), now)
		if err == nil && len(hold) > 0 {
			return hold, nil
		}
		// There may be other chains by now, and if not the error tells why.
	}
	chains, err := s.chains(certs, usage, now)
	if err != nil {
		return nil, chainError(certs[0], err, usage, now)
	}
	hold, err := s.crls.filter(chains, now)
	if err == nil {
		s.verified.remember(peer, hold)
	}
	return hold, err
}

// chains returns the ways in which certs, leaf first, lead to what s trusts.
func (s *snapshot) chains(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) ([][]*x509.Certificate, error) {
	roots := s.Roots
	if s.domains != nil {
		var err error
		if roots, err = s.domains.roots(certs[0]); err != nil {
			return nil, err
		}
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	return certs[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
}

// verifyName checks that cert is for host, a DNS name or an IP address
// (RFC 9525; the common name counts for nothing).
func verifyName(cert *x509.Certificate, host string) error {
	name := host
	// The zone of a link-local address means something on this machine alone.
	if addr, err := netip.ParseAddr(host); err == nil {
		name = addr.WithZone("").String()
	}
	if err := cert.VerifyHostname(name); err != nil {
		return &VerifyError{Certificate: cert, Err: err, reason: reasonNameMismatch, detail: withoutPackage(err)}
	}
	return nil
}

// usageNames are what OpenSSL calls the usages that peers' certificates need.
var usageNames = map[x509.ExtKeyUsage]string{
	x509.ExtKeyUsageClientAuth: "clientAuth",
	x509.ExtKeyUsageServerAuth: "serverAuth",
}

// chainError gives what crypto/x509 said about leaf's chain a reason. What has
// one already keeps it.
func chainError(leaf *x509.Certificate, err error, usage x509.ExtKeyUsage, now time.Time) error {
	if refusal, ok := errors.AsType[*VerifyError](err); ok {
		return refusal
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired && invalid.Cert != nil {
			if dates := checkDates(invalid.Cert, now); dates != nil {
				dates.Err = err
				return dates
			}
		}
		detail := withoutPackage(err)
		if invalid.Reason == x509.IncompatibleUsage {
			detail = "its extended key usage, or that of its CA, leaves out " + usageNames[usage]
		}
		return &VerifyError{Certificate: leaf, Err: err, reason: reasonBadCertificate, detail: detail}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &VerifyError{Certificate: leaf, Err: err, reason: reasonUnknownCA, detail: "not signed by a trusted CA"}
	}
	if _, ok := errors.AsType[x509.SystemRootsError](err); ok {
		return &VerifyError{Certificate: leaf, Err: err, reason: reasonUnknownCA, detail: "the system's trusted CAs cannot be loaded; name some with --cacert"}
	}
	return &VerifyError{Certificate: leaf, Err: err, reason: reasonBadCertificate, detail: withoutPackage(err)}
}

// checkDates returns nil if cert is valid now, else what is wrong.
func checkDates(cert *x509.Certificate, now time.Time) *VerifyError {
	switch {
	case now.Before(cert.NotBefore):
		return &VerifyError{Certificate: cert, reason: reasonNotYetValid, detail: "not valid before " + cert.NotBefore.Format(time.RFC3339)}
	case now.After(cert.NotAfter):
		return &VerifyError{Certificate: cert, reason: reasonExpired, detail: "expired at " + cert.NotAfter.Format(time.RFC3339)}
	}
	return nil
}

func withoutPackage(err error) string { return strings.TrimPrefix(err.Error(), "x509: ") }
