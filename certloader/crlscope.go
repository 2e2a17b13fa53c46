package certloader

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// crlScope is which of its issuer's certificates a list is about, as its issuing
// distribution point says (RFC 5280, 5.2.5). The zero value is all of them.
type crlScope struct {
	points []string // URIs, of which a certificate must name one; nil: it need not
	leaves bool     // certificates that are no CA's, and these alone
	cas    bool     // CA certificates alone
}

// issuingDistributionPoint is the ASN.1 of it. RawValues are told apart by
// whether they are there.
type issuingDistributionPoint struct {
	Point      asn1.RawValue `asn1:"optional,tag:0"`
	Users      bool          `asn1:"optional,tag:1"`
	CAs        bool          `asn1:"optional,tag:2"`
	Reasons    asn1.RawValue `asn1:"optional,tag:3"`
	Indirect   bool          `asn1:"optional,tag:4"`
	Attributes bool          `asn1:"optional,tag:5"`
}

// parse reads the extension's value. A list that would leave something open
// about the certificates in its scope is refused.
func (s *crlScope) parse(der []byte) error {
	var value issuingDistributionPoint
	rest, err := asn1.Unmarshal(der, &value)
	if err != nil || len(rest) > 0 {
		return errors.New("malformed issuing distribution point")
	}
	switch {
	case value.Indirect:
		return errIndirectCRL
	case len(value.Reasons.FullBytes) > 0:
		return errors.New("a CRL for some reasons of revocation alone; give the complete one")
	case value.Attributes:
		return errors.New("a CRL for attribute certificates, of which TLS has none")
	case value.Users && value.CAs:
		return errors.New("a CRL for leaf certificates alone and for CA certificates alone at once")
	}
	s.leaves, s.cas = value.Users, value.CAs
	if len(value.Point.FullBytes) == 0 {
		return nil
	}
	s.points, err = pointURIs(value.Point.Bytes)
	return err
}

// The context-specific tags of a DistributionPointName and of a GeneralName
// (RFC 5280, 4.2.1.13 and 4.2.1.6).
const (
	tagFullName = 0
	tagURI      = 6
)

// pointURIs reads the URIs of a DistributionPointName.
func pointURIs(der []byte) ([]string, error) {
	var name asn1.RawValue
	rest, err := asn1.Unmarshal(der, &name)
	if err != nil || len(rest) > 0 || name.Class != asn1.ClassContextSpecific {
		return nil, errors.New("malformed name of a distribution point")
	}
	var uris []string
	if name.Tag == tagFullName {
		for rest := name.Bytes; len(rest) > 0; {
			var general asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &general); err != nil {
				return nil, fmt.Errorf("malformed name of a distribution point: %w", err)
			}
			if general.Class == asn1.ClassContextSpecific && general.Tag == tagURI {
				uris = append(uris, string(general.Bytes))
			}
		}
	}
	if len(uris) == 0 {
		return nil, errors.New("a CRL for a distribution point without a URI; give the complete one")
	}
	return uris, nil
}

// covers reports whether the list would name cert if it were revoked
// (RFC 5280, 6.3.3 (b)).
func (s *crlScope) covers(cert *x509.Certificate) bool {
	switch {
	case s.leaves && cert.IsCA, s.cas && !cert.IsCA:
		return false
	case s.points == nil:
		return true
	}
	return slices.ContainsFunc(cert.CRLDistributionPoints, func(uri string) bool { return slices.Contains(s.points, uri) })
}
