package devpki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// Request says what a certificate is to hold. It needs a name of some kind: a
// CommonName or a SAN.
type Request struct {
	CommonName          string
	OrganizationalUnits []string

	// DNSNames, IPs and URIs are the subject alternative names.
	DNSNames []string
	IPs      []netip.Addr
	URIs     []string

	// NotBefore and NotAfter bound the validity, to the second. Zero is five
	// minutes ago and a year from now, though no later than the authority's
	// own end. What is set is used as it is, even if it outlives the authority.
	NotBefore, NotAfter time.Time

	// Usages are the extended key usages; nil is server and client, so that one
	// identity works at both ends of a tunnel and on its status port.
	Usages []x509.ExtKeyUsage

	// Key is the kind of the key.
	Key KeyKind

	// Signer, if it is set, is the key itself, for a certificate that takes the
	// place of another. Nil makes a new one.
	Signer crypto.Signer
}

// Identity is a certificate with its chain and its private key, as made by
// [CA.Issue]. The zero value is of no use.
type Identity struct {
	// Leaf is the certificate itself.
	Leaf *x509.Certificate

	// Chain is the intermediates between Leaf and the root, the issuer first;
	// empty if the root issued it.
	Chain []*x509.Certificate

	// Key fits Leaf.
	Key crypto.Signer

	keyDER []byte // PKCS#8
}

// Issue makes a key, unless there is one already, and a certificate for it.
func (ca *CA) Issue(req Request) (*Identity, error) {
	template, err := req.template(ca.cert)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	key := req.Signer
	if key == nil {
		if key, err = req.Key.generate(); err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	leaf, err := sign(template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	return &Identity{Leaf: leaf, Chain: slices.Clone(ca.chain), Key: key, keyDER: keyDER}, nil
}

// CertPEM is the certificate and its chain as PEM: the content of a --cert
// file.
func (id *Identity) CertPEM() []byte {
	return append(encodeCertificates(id.Leaf), encodeCertificates(id.Chain...)...)
}

// KeyPEM is the private key as PEM, in PKCS#8: the content of a --key file.
func (id *Identity) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: id.keyDER})
}

// CombinedPEM is certificate, chain and key as PEM: the content of a PEM
// --keystore.
func (id *Identity) CombinedPEM() []byte { return append(id.CertPEM(), id.KeyPEM()...) }

// PKCS12 is certificate, chain and key as a PKCS#12 keystore, encrypted under
// password (which may be empty).
func (id *Identity) PKCS12(password string) ([]byte, error) {
	data, err := pkcs12.Modern.Encode(id.Key, id.Leaf, id.Chain, password)
	if err != nil {
		return nil, fmt.Errorf("encoding as PKCS#12: %w", err)
	}
	return data, nil
}

// TLSCertificate is the identity as crypto/tls takes it.
func (id *Identity) TLSCertificate() tls.Certificate {
	cert := tls.Certificate{
		Certificate: [][]byte{id.Leaf.Raw},
		PrivateKey:  id.Key,
		Leaf:        id.Leaf,
	}
	for _, issuer := range id.Chain {
		cert.Certificate = append(cert.Certificate, issuer.Raw)
	}
	return cert
}

func (r Request) template(issuer *x509.Certificate) (*x509.Certificate, error) {
	if r.CommonName == "" && len(r.DNSNames)+len(r.IPs)+len(r.URIs) == 0 {
		return nil, errors.New("no name in it")
	}
	subject := pkix.Name{CommonName: r.CommonName, OrganizationalUnit: r.OrganizationalUnits}
	if err := checkName(subject); err != nil {
		return nil, err
	}
	if slices.Contains(r.DNSNames, "") {
		return nil, errors.New("a DNS name is empty")
	}
	ips, err := subjectIPs(r.IPs)
	if err != nil {
		return nil, err
	}
	uris, err := subjectURIs(r.URIs)
	if err != nil {
		return nil, err
	}
	notBefore, notAfter, err := validity(r.NotBefore, r.NotAfter, issuer)
	if err != nil {
		return nil, err
	}
	usages := r.Usages
	if usages == nil {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return &x509.Certificate{
		Subject:               subject,
		DNSNames:              r.DNSNames,
		IPAddresses:           ips,
		URIs:                  uris,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usages,
		BasicConstraintsValid: true,
	}, nil
}

func subjectIPs(addrs []netip.Addr) ([]net.IP, error) {
	var ips []net.IP
	for _, addr := range addrs {
		if !addr.IsValid() || addr.Zone() != "" {
			return nil, fmt.Errorf("IP address %s: a certificate cannot hold it", addr)
		}
		ips = append(ips, addr.Unmap().AsSlice())
	}
	return ips, nil
}

func subjectURIs(texts []string) ([]*url.URL, error) {
	var uris []*url.URL
	for _, text := range texts {
		uri, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("URI %q: %w", text, errors.Unwrap(err))
		}
		// RFC 5280, 4.2.1.6: absolute, with something after the scheme.
		if uri.Scheme == "" || uri.Host == "" && uri.Path == "" && uri.Opaque == "" {
			return nil, fmt.Errorf("URI %q: not absolute; write scheme://host/path", text)
		}
		uris = append(uris, uri)
	}
	return uris, nil
}
