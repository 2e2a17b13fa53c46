//go:build cgo

package certloader

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"sallyport/certloader/keystore"
)

// PKCS11 returns a Provider whose private key stays in a token, an HSM say,
// which makes the signatures. Each Load reads the chain and the trust anew, and
// refuses a chain whose certificate the token has no key for.
//
// A token that was lost is logged in to again by the next Load or signature. A
// PIN that it refused is not tried again, because tokens lock after a few wrong
// ones. Whether a PIN is right goes unnoticed while the process is logged in to
// the token with another Provider.
func PKCS11(opts PKCS11Options) (Provider, error) {
	module, err := openModule(opts.Module)
	if err != nil {
		return nil, err
	}
	return &hsm{
		files: FileOptions{Cert: opts.Cert, CABundle: opts.CABundle},
		token: &token{module: module, path: opts.Module, label: opts.TokenLabel, pin: opts.PIN},
	}, nil
}

// hsm is a Provider with the key in a token and the rest in files.
type hsm struct {
	files FileOptions
	token *token
}

// Load reads the files, and has the token prove that it holds the key.
func (h *hsm) Load(ctx context.Context) (*Material, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	material := &Material{Origin: "--cert " + h.files.Cert}
	chain, err := readCertificates(h.files.Cert)
	if err != nil {
		return nil, inFile("--cert", h.files.Cert, err)
	}
	leaf := endEntity(chain)
	if err := checkTokenKey(leaf); err != nil {
		return nil, inFile("--cert", h.files.Cert, err)
	}
	key, err := h.token.key(leaf.PublicKey)
	if errors.Is(err, errNoTokenKey) {
		err = fmt.Errorf("%s has no private key that fits certificate %q", h.token.name(), leaf.Subject)
		return nil, inFile("--cert", h.files.Cert, err)
	}
	if err != nil {
		return nil, err
	}
	if material.Identity, err = keystore.Pair(chain, key); err != nil {
		return nil, inFile("--cert", h.files.Cert, err)
	}
	if err := h.files.loadTrust(material); err != nil {
		return nil, err
	}
	return material, nil
}

// Changed returns nil: tokens do not tell.
func (h *hsm) Changed() <-chan struct{} { return nil }

// Close ends the sessions. A signature that is asked for later begins new ones.
func (h *hsm) Close() error {
	h.token.close()
	return nil
}

// checkTokenKey refuses certificates for keys of a kind that is not used from a
// token.
func checkTokenKey(cert *x509.Certificate) error {
	switch public := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if _, ok := tokenCurves[public.Curve]; !ok {
			return fmt.Errorf("a key on the curve %s cannot be used in TLS; one on P-256, P-384 or P-521 can", public.Params().Name)
		}
		return nil
	}
	return fmt.Errorf("a key of type %s cannot be used from a token; RSA and ECDSA can", cert.PublicKeyAlgorithm)
}

// endEntity returns the certificate of a chain that is to be shown as one's
// own. The key does not tell it, as it does with files: a token may hold the
// keys of CAs too.
func endEntity(chain []*x509.Certificate) *x509.Certificate {
	index := slices.IndexFunc(chain, func(cert *x509.Certificate) bool { return !cert.IsCA })
	return chain[max(index, 0)]
}
