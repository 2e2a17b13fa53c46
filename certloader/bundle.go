package certloader

import (
	"context"
	"crypto/x509"
)

// Bundle returns a Provider of trust alone: the CAs in the file at path, which
// is as FileOptions.CABundle. Flag is what named the file, for errors.
func Bundle(flag, path string) Provider { return bundle{flag, path} }

type bundle struct{ flag, path string }

// Load reads the file, or says what is wrong with it.
func (b bundle) Load(ctx context.Context) (*Material, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	material := new(Material)
	if err := b.loadTrust(material); err != nil {
		return nil, err
	}
	return material, nil
}

func (b bundle) loadTrust(material *Material) error {
	certs, err := readCertificates(b.path)
	if err != nil {
		return inFile(b.flag, b.path, err)
	}
	material.CAs = certs
	material.TrustOrigin = b.flag + " " + b.path
	material.Roots = x509.NewCertPool()
	for _, cert := range certs {
		material.Roots.AddCert(cert)
	}
	return nil
}

// Changed is nil: Watch knows when files change.
func (bundle) Changed() <-chan struct{} { return nil }

// Close does nothing: no file is kept open.
func (bundle) Close() error { return nil }
