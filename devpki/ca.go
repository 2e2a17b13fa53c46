package devpki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// DefaultValidity is how long a certificate lasts when nothing else is said.
	DefaultValidity = 365 * 24 * time.Hour

	// backdate makes a fresh certificate valid for peers whose clock is behind.
	backdate = 5 * time.Minute
)

// Options says what a new authority is like. The zero value makes an ECDSA
// P-256 authority that lasts a year.
type Options struct {
	// CommonName is the authority's name; empty is "Sallyport development CA".
	CommonName string

	// NotBefore and NotAfter bound its validity, to the second. Zero is five
	// minutes ago and a year from now (for an intermediate no later than its
	// issuer's end).
	NotBefore, NotAfter time.Time

	// Key is the kind of its key.
	Key KeyKind
}

// CA is a certificate authority: a self-signed root, or an intermediate below
// one. It is safe for concurrent use.
type CA struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain []*x509.Certificate // from cert up to, but without, the root; empty for a root
	root  *x509.Certificate
}

// NewCA makes a self-signed root.
func NewCA(opts Options) (*CA, error) {
	key, err := opts.Key.generate()
	if err != nil {
		return nil, fmt.Errorf("making a CA key: %w", err)
	}
	template, err := opts.template(nil)
	if err != nil {
		return nil, err
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making CA %q: %w", template.Subject.CommonName, err)
	}
	return &CA{cert: cert, key: key, root: cert}, nil
}

// LoadCA reads an authority that [Init] wrote to dir.
func LoadCA(dir string) (*CA, error) {
	certPath, keyPath := filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile)
	certDER, err := readPEM(certPath, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	keyDER, err := readPEM(keyPath, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s: not the certificate of a CA", certPath)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok || !samePublicKey(key.Public(), cert.PublicKey) {
		return nil, fmt.Errorf("%s: not the key of %s", keyPath, certPath)
	}
	return &CA{cert: cert, key: key, root: cert}, nil
}

// Intermediate makes an authority below ca. What it issues carries the chain
// up to the root's first child.
func (ca *CA) Intermediate(opts Options) (*CA, error) {
	key, err := opts.Key.generate()
	if err != nil {
		return nil, fmt.Errorf("making a CA key: %w", err)
	}
	template, err := opts.template(ca.cert)
	if err != nil {
		return nil, err
	}
	cert, err := sign(template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("making CA %q: %w", template.Subject.CommonName, err)
	}
	return &CA{
		cert:  cert,
		key:   key,
		chain: append([]*x509.Certificate{cert}, ca.chain...),
		root:  ca.root,
	}, nil
}

// Certificate is the authority's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Root is the certificate at the top of the chain: ca's own, unless it is an
// intermediate.
func (ca *CA) Root() *x509.Certificate { return ca.root }

// Key is the authority's private key, for whoever has to sign something that
// [CA.Issue] would not.
func (ca *CA) Key() crypto.Signer { return ca.key }

// Pool is a pool of the root alone: what a peer has to trust.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

// PEM is the root certificate as PEM: the content of a --cacert file.
func (ca *CA) PEM() []byte { return encodeCertificates(ca.root) }

func (o Options) template(issuer *x509.Certificate) (*x509.Certificate, error) {
	name := o.CommonName
	if name == "" {
		name = "Sallyport development CA"
	}
	subject := pkix.Name{CommonName: name}
	if err := checkName(subject); err != nil {
		return nil, err
	}
	notBefore, notAfter, err := validity(o.NotBefore, o.NotAfter, issuer)
	if err != nil {
		return nil, fmt.Errorf("CA %q: %w", name, err)
	}
	return &x509.Certificate{
		Subject:               subject,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, nil
}

// sign gives template what every certificate has (serial number and key
// identifier) and has it signed. A template that is its own parent is
// self-signed.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	// RFC 5280, 4.1.2.2: positive and of at most 20 octets. Below 2^128-1 from
	// rand.Int, plus one, is 128 bits and never zero.
	one := big.NewInt(1)
	serial, err := rand.Int(rand.Reader, new(big.Int).Sub(new(big.Int).Lsh(one, 128), one))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, one)

	// RFC 5280, 4.2.1.2 leaves the method open; RFC 7093 shortens SHA-256.
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(spki)
	template.SubjectKeyId = digest[:20]

	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// validity fills in what was left out. What was asked for stays as it is, even
// beyond the issuer's own end: tests need such certificates.
func validity(notBefore, notAfter time.Time, issuer *x509.Certificate) (time.Time, time.Time, error) {
	if notAfter.IsZero() {
		notAfter = time.Now().Add(DefaultValidity)
		if issuer != nil && issuer.NotAfter.Before(notAfter) {
			notAfter = issuer.NotAfter
		}
	}
	if notBefore.IsZero() {
		notBefore = time.Now().Add(-backdate)
	}
	// A certificate knows whole seconds and UTC alone.
	notBefore, notAfter = notBefore.UTC().Truncate(time.Second), notAfter.UTC().Truncate(time.Second)
	if notAfter.Before(notBefore) {
		return notBefore, notAfter, fmt.Errorf("would end at %s, before its start at %s",
			notAfter.Format(time.RFC3339), notBefore.Format(time.RFC3339))
	}
	return notBefore, notAfter, nil
}

// checkName refuses attributes that RFC 5280, appendix A.1, has no room for
// (ub-common-name, ub-organizational-unit-name).
func checkName(name pkix.Name) error {
	const limit = 64
	for _, value := range append(slices.Clone(name.OrganizationalUnit), name.CommonName) {
		if len([]rune(value)) > limit {
			return fmt.Errorf("name %.20q…: longer than %d characters", value, limit)
		}
	}
	if slices.Contains(name.OrganizationalUnit, "") {
		return errors.New("an organizational unit is empty")
	}
	return nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

// readPEM returns the content of the first block in the file, which must be of
// the given type.
func readPEM(path, blockType string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != blockType {
		return nil, fmt.Errorf("%s: does not begin with a PEM %s", path, blockType)
	}
	return block.Bytes, nil
}
