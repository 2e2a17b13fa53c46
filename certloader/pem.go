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
		return nil, errors.New("not PEM but binary; PKCS#12 goes with --keystore, and openssl x509 -inform der makes PEM of DER")
	case len(blocks) == 0:
		return nil, errors.New("no PEM block in it")
	}
	return &pemContents{blocks}, nil
}

// certificates returns the certificates in the file, of which there must be one.
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
func (p *pemContents) privateKey() (crypto.Signer, error) {
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
		return parsePrivateKey(keys[0])
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

// parsePrivateKey reads a key by its content. The type of the block is not to
// be relied on: tools have mislabelled PKCS#8 as RSA and the reverse.
func parsePrivateKey(block *pem.Block) (crypto.Signer, error) {
	// RFC 7468, 11 and RFC 1421, 4.6.1.1.
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("the private key is encrypted; decrypt it with openssl pkey, or use a PKCS#12 keystore")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a private key in PKCS#8, PKCS#1 or SEC 1", block.Type)
	}
	return signer(key)
}

// looksLikeDER reports whether data begins as a large ASN.1 sequence does, with
// a length in the long form.
func looksLikeDER(data []byte) bool { return len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80 }
