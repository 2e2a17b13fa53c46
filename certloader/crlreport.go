package certloader

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// CRL describes one revocation list in use, for reports.
type CRL struct {
	Path       string // the file it is from
	Issuer     string // distinguished name, as RFC 2253 writes it
	ThisUpdate time.Time
	NextUpdate time.Time // from then on its issuer's certificates are refused, unless Superseded
	Entries    int       // how many certificates it revokes

	// Superseded is that another list in use, by the same key and about the same
	// certificates, is good now and lasts longer: when this one ends, nobody is
	// refused.
	Superseded bool

	// Unused is that the list can revoke nobody: its issuer is above a trusted CA,
	// where every chain ends, and is not trusted itself.
	Unused bool
}

// CRLs describes the revocation lists in use now.
func (s *Source) CRLs() []CRL {
	current := s.current.Load()
	if current.crls == nil {
		return nil
	}
	now := time.Now()
	latest := current.crls.latest(now)
	var out []CRL
	for _, list := range current.crls.all {
		out = append(out, CRL{
			Path:       list.file,
			Issuer:     list.list.Issuer.String(),
			ThisUpdate: list.list.ThisUpdate,
			NextUpdate: list.list.NextUpdate,
			Entries:    len(list.revoked),
			Superseded: list.list.NextUpdate.Before(latest[current.crls.subject(list)]),
			Unused:     list.unused(current.CAs),
		})
	}
	return out
}

// latest is until when there is a list of each subject, among those that are
// good now.
func (s *crls) latest(now time.Time) map[string]time.Time {
	ends := make(map[string]time.Time)
	for _, list := range s.all {
		if subject := s.subject(list); list.checkDates(now) == nil && list.list.NextUpdate.After(ends[subject]) {
			ends[subject] = list.list.NextUpdate
		}
	}
	return ends
}

// subject is which certificates a list is about, as a key: whose, by name and
// key, and which of them.
func (s *crls) subject(list *crl) string {
	key := list.list.AuthorityKeyId
	if i := slices.IndexFunc(s.known, list.signedBy); i >= 0 {
		key = s.known[i].RawSubjectPublicKeyInfo
	}
	points := slices.Sorted(slices.Values(list.scope.points))
	return fmt.Sprintf("%x %x %t %t %q", list.list.RawIssuer, key, list.scope.leaves, list.scope.cas, points)
}

// unused reports whether the list's issuer is none of the trusted CAs, but has
// issued one of them. Other issuers that are not trusted may be intermediates
// that peers send.
func (c *crl) unused(trusted []*x509.Certificate) bool {
	below := func(ca *x509.Certificate) bool {
		return bytes.Equal(ca.RawIssuer, c.list.RawIssuer) && !bytes.Equal(ca.RawIssuer, ca.RawSubject)
	}
	return slices.ContainsFunc(trusted, below) && !slices.ContainsFunc(trusted, c.signedBy)
}
