package certloader

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
)

// pemContents is the blocks of a PEM file, in order.
type pemContents struct {
	blocks []*pem.Block
}

// parsePEM reads all blocks. pem.Decode passes over those that it cannot read;
// here they are an error, lest a damaged file load as a shorter one.
func parsePEM(data []byte) (*pemContents, error) {
	var blocks []*pem.Block
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	begins, ends := bytes.Count(data, []byte(pemBegin)), bytes.Count(data, []byte(pemEnd))
	switch {
	case begins != len(blocks) || ends != len(blocks):
		return nil, fmt.Errorf("truncated or damaged: %d of %d PEM blocks can be read", len(blocks), max(begins, ends))
	case len(blocks) == 0 && looksLikeDER(data):
		return nil, errors.New("not PEM but binary, which its name must tell: .der, .p7b or, for --keystore, .p12")
	case len(blocks) == 0:
		return nil, errors.New("no PEM block in it")
	}
	return &pemContents{blocks}, nil
}

// certificates returns the certificates in the file, of which there must be one,
// those within PKCS#7 too.
func (p *pemContents) certificates() ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, block := range p.blocks {
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
			}
			certs = append(certs, cert)
		case "PKCS7", "PKCS #7 SIGNED DATA", "CMS": // RFC 7468, 8 and 9; the second is OpenSSL's
			bag, err := parsePKCS7(block.Bytes)
			if err != nil {
				return nil, err
			}
			certs = append(certs, bag...)
		case "TRUSTED CERTIFICATE":
			return nil, errors.New("an OpenSSL TRUSTED CERTIFICATE is in it; openssl x509 makes a plain one of it")
		}
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no certificate in it; it holds %s", p.types())
	}
	return certs, nil
}

// privateKey returns the one private key in the file.
func (p *pemContents) privateKey(password string) (crypto.Signer, error) {
	var keys []*pem.Block
	for _, block := range p.blocks {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			keys = append(keys, block)
		}
	}
	switch len(keys) {
	case 0:
		return nil, fmt.Errorf("no private key in it; it holds %s", p.types())
	case 1:
		return parsePEMKey(keys[0], password)
	}
	return nil, fmt.Errorf("%d private keys in it; leave the one that fits the certificate", len(keys))
}

// types lists what kinds of block the file holds.
func (p *pemContents) types() string {
	var types []string
	for _, block := range p.blocks {
		if !slices.Contains(types, block.Type) {
			types = append(types, block.Type)
		}
	}
	return strings.Join(types, ", ")
}

// parsePEMKey reads a key by its content. The type of the block is not to be
// relied on: tools have mislabelled PKCS#8 as RSA and the reverse.
func parsePEMKey(block *pem.Block, password string) (crypto.Signer, error) {
	if !strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		key, err := parsePrivateKey(block.Bytes, password)
		if errors.Is(err, errNoKey) {
			err = fmt.Errorf("%s: %w", block.Type, err)
		}
		return key, err
	}
	// The encryption of RFC 1421, 4.6.1.1, which OpenSSL calls traditional.
	if password == "" {
		return nil, errNoPassword
	}
	plain, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // weak as it is, it is what the file has
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, errPasswordOrDamage
	}
	if err != nil {
		return nil, fmt.Errorf("the encryption of the private key: %s", withoutPackage(err))
	}
	key, err := parsePlainKey(plain)
	if errors.Is(err, errNoKey) {
		err = errPasswordOrDamage
	}
	return key, err
}
