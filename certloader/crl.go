package certloader

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"sallyport/certloader/keystore"
)

// crl is one certificate revocation list (RFC 5280, 5) of a kind that can be
// relied on: complete, and issued by whoever issued the certificates it is
// about. It does not change, but remembers whose signature it bears.
type crl struct {
	file    string // where it came from
	list    *x509.RevocationList
	scope   crlScope
	revoked map[string]revokedEntry // by serial number, in hexadecimal

	signers sync.Map // whether an issuer (by its certificate, a string) signed it: bool
}

// revokedEntry is what a list says about a certificate.
type revokedEntry struct {
	at     time.Time
	reason int // RFC 5280, 5.3.1
}

// parseCRLs reads the lists in a file, of which there must be one: one in DER,
// or any number in PEM. Certificates and the like beside them in a PEM file do
// not matter.
func parseCRLs(data []byte) ([]*crl, error) {
	blocks, err := keystore.ParsePEM(data)
	if errors.Is(err, keystore.ErrBinary) {
		list, err := parseCRL(data)
		if err != nil {
			return nil, err
		}
		return []*crl{list}, nil
	}
	if err != nil {
		return nil, err
	}
	var lists []*crl
	for _, block := range blocks {
		if block.Type != "X509 CRL" { // RFC 7468, 6
			continue
		}
		list, err := parseCRL(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CRL %d: %w", len(lists)+1, err)
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, fmt.Errorf("no CRL in it; it holds %s", blocks.Types())
	}
	return lists, nil
}

// parseCRL reads one list in DER. It refuses those that do not tell all there is
// to tell, or in ways that are not understood (RFC 5280, 5.2): to go by them
// would let revoked certificates pass.
func parseCRL(der []byte) (*crl, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		if versionOne(der) {
			return nil, errors.New("a CRL of version 1; openssl ca makes version 2 where crl_extensions is set")
		}
		return nil, fmt.Errorf("not a CRL that can be read: %s", withoutPackage(err))
	}
	if len(list.Raw) != len(der) {
		return nil, fmt.Errorf("%d bytes follow the CRL", len(der)-len(list.Raw))
	}
	if list.NextUpdate.IsZero() {
		return nil, errors.New("the CRL does not say until when it is good (nextUpdate)")
	}
	c := &crl{list: list, revoked: make(map[string]revokedEntry, len(list.RevokedCertificateEntries))}
	if err := c.readExtensions(); err != nil {
		return nil, err
	}
	if err := c.readEntries(); err != nil {
		return nil, err
	}
	return c, nil
}

// The extensions that a list and its entries may have (RFC 5280, 5.2 and 5.3).
var (
	oidCRLNumber         = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReasonCode        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate    = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidDeltaCRLIndicator = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
	oidAuthorityKeyID    = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// errIndirectCRL is a list about the certificates of others than its issuer.
var errIndirectCRL = errors.New("an indirect CRL; give that of each issuer")

func (c *crl) readExtensions() error {
	scoped := false
	for _, extension := range c.list.Extensions {
		switch {
		case extension.Id.Equal(oidDeltaCRLIndicator):
			return errors.New("a delta CRL; give the complete one")
		case extension.Id.Equal(oidDistributionPoint):
			if scoped {
				return errors.New("two issuing distribution points")
			}
			scoped = true
			if err := c.scope.parse(extension.Value); err != nil {
				return err
			}
		case extension.Critical && !extension.Id.Equal(oidCRLNumber) && !extension.Id.Equal(oidAuthorityKeyID):
			return fmt.Errorf("critical extension %s is not known here", extension.Id)
		}
	}
	return nil
}

// readEntries takes what matters from the entries, and lets go of the rest: a
// list may have very many.
func (c *crl) readEntries() error {
	for _, entry := range c.list.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			switch {
			case extension.Id.Equal(oidCertificateIssuer):
				return errIndirectCRL
			case extension.Critical && !extension.Id.Equal(oidReasonCode) && !extension.Id.Equal(oidInvalidityDate):
				return fmt.Errorf("critical extension %s of an entry is not known here", extension.Id)
			}
		}
		c.revoked[serialText(entry.SerialNumber)] = revokedEntry{entry.RevocationTime, entry.ReasonCode}
	}
	c.list.RevokedCertificateEntries = nil
	c.list.RevokedCertificates = nil //nolint:staticcheck // the same once more, which is why it goes
	return nil
}

// names reports whether the list says that it is issuer's: by its name and, where
// both tell, by its key. A CA that has changed its key has a list for each.
func (c *crl) names(issuer *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, c.list.RawIssuer) &&
		(len(issuer.SubjectKeyId) == 0 || len(c.list.AuthorityKeyId) == 0 ||
			bytes.Equal(issuer.SubjectKeyId, c.list.AuthorityKeyId))
}

// signedBy reports whether the list bears issuer's signature, and issuer may
// sign lists (RFC 5280, 6.3.3 (f) and (g)).
func (c *crl) signedBy(issuer *x509.Certificate) bool {
	key := string(issuer.Raw)
	if known, ok := c.signers.Load(key); ok {
		return known.(bool)
	}
	signed := bytes.Equal(issuer.RawSubject, c.list.RawIssuer) && c.list.CheckSignatureFrom(issuer) == nil
	c.signers.Store(key, signed)
	return signed
}

// revokes reports whether the list has cert's serial number. Whether it is about
// cert at all is for the caller to know.
func (c *crl) revokes(cert *x509.Certificate) bool {
	_, revoked := c.revoked[serialText(cert.SerialNumber)]
	return revoked
}

// refuse is the refusal of a certificate that the list revokes.
func (c *crl) refuse(cert *x509.Certificate) *VerifyError {
	return &VerifyError{Certificate: cert, reason: reasonRevoked, detail: c.revoked[serialText(cert.SerialNumber)].String()}
}

// checkDates returns nil if the list is good now, else what is wrong.
func (c *crl) checkDates(now time.Time) *VerifyError {
	switch {
	case now.Before(c.list.ThisUpdate):
		return &VerifyError{reason: reasonCRLInvalid, detail: c.String() + " is not valid before " + c.list.ThisUpdate.Format(time.RFC3339)}
	case !now.Before(c.list.NextUpdate):
		return &VerifyError{reason: reasonCRLExpired, detail: c.String() + " expired at " + c.list.NextUpdate.Format(time.RFC3339)}
	}
	return nil
}

// String names the list by its file.
func (c *crl) String() string { return "the CRL in --crl " + c.file }

// String says when and why, as RFC 5280 names it.
func (e revokedEntry) String() string {
	text := "revoked at " + e.at.Format(time.RFC3339)
	if e.reason > 0 && e.reason < len(revocationReasons) && revocationReasons[e.reason] != "" {
		text += ": " + revocationReasons[e.reason]
	}
	return text
}

// revocationReasons is the CRLReason values of RFC 5280, 5.3.1. That no reason
// was given (0) needs no word.
var revocationReasons = [...]string{
	1:  "keyCompromise",
	2:  "cACompromise",
	3:  "affiliationChanged",
	4:  "superseded",
	5:  "cessationOfOperation",
	6:  "certificateHold",
	9:  "privilegeWithdrawn",
	10: "aACompromise",
}

func serialText(serial *big.Int) string { return serial.Text(16) }

// versionOne reports whether der begins as a list does that names no version.
func versionOne(der []byte) bool {
	var outer struct {
		List struct {
			Algorithm asn1.RawValue
		}
	}
	_, err := asn1.Unmarshal(der, &outer)
	return err == nil && outer.List.Algorithm.Tag == asn1.TagSequence
}
