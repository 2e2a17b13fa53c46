package keystore

import (
	"bytes"
	"crypto"
	"crypto/tls"
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

// PEM is the blocks of a PEM file, in order. [ParsePEM] makes it.
type PEM []*pem.Block

// ParsePEM reads all blocks, of whatever type, of which there is one at least.
// pem.Decode passes over those that it cannot read; here they are an error, lest
// a damaged file load as a shorter one. Of DER the error is [ErrBinary]. The mark
// that Windows' editors put before UTF-8 is passed over.
func ParsePEM(data []byte) (PEM, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var blocks PEM
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	begins, ends := bytes.Count(data, []byte(pemBegin)), bytes.Count(data, []byte(pemEnd))
	switch {
	case begins == 0 && looksLikeDER(data):
		return nil, ErrBinary
	case begins == 0 && isUTF16(data):
		return nil, errors.New("text in UTF-16, not PEM; save it as ASCII or UTF-8")
	case begins != len(blocks) && beginsWithinLine(data):
		return nil, fmt.Errorf("%d of %d PEM blocks can be read: a -----BEGIN stands behind other text on its line; put a line break before it", len(blocks), max(begins, ends))
	case begins != len(blocks) || ends != len(blocks):
		return nil, fmt.Errorf("truncated or damaged: %d of %d PEM blocks can be read", len(blocks), max(begins, ends))
	case len(blocks) == 0:
		return nil, errors.New("no PEM block in it")
	}
	return blocks, nil
}

// isUTF16 reports whether data begins with the mark of UTF-16, in either order
// of bytes. No other format begins so.
func isUTF16(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff})
}

// beginsWithinLine reports whether a block begins where no line does, and so
// cannot be read.
func beginsWithinLine(data []byte) bool {
	for {
		i := bytes.Index(data, []byte(pemBegin))
		if i < 0 {
			return false
		}
		if i > 0 && data[i-1] != '\n' {
			return true
		}
		data = data[i+len(pemBegin):]
	}
}

// certificates returns the certificates in the file, of which there must be one,
// those within PKCS#7 too.
func (p PEM) certificates() ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, block := range p {
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
		return nil, fmt.Errorf("no certificate in it; it holds %s", p.Types())
	}
	return certs, nil
}

// privateKey returns the one private key in the file.
func (p PEM) privateKey(password string) (crypto.Signer, error) {
	var keys []*pem.Block
	for _, block := range p {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			keys = append(keys, block)
		}
	}
	switch len(keys) {
	case 0:
		return nil, fmt.Errorf("no private key in it; it holds %s", p.Types())
	case 1:
		return parsePEMKey(keys[0], password)
	}
	return nil, fmt.Errorf("%d private keys in it; leave the one that fits the certificate", len(keys))
}

// Types lists the types of block that there are, each once, as messages have it.
func (p PEM) Types() string {
	var types []string
	for _, block := range p {
		if !slices.Contains(types, block.Type) {
			types = append(types, block.Type)
		}
	}
	return strings.Join(types, ", ")
}

// parsePEMKeystore reads a PEM file that holds a key with its chain.
func parsePEMKeystore(data []byte, password string) (*tls.Certificate, error) {
	contents, err := ParsePEM(data)
	if err != nil {
		return nil, err
	}
	certs, err := contents.certificates()
	if err != nil {
		return nil, err
	}
	key, err := contents.privateKey(password)
	if err != nil {
		return nil, err
	}
	return Pair(certs, key)
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
		return nil, ErrEncrypted
	}
	plain, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // weak as it is, it is what the file has
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, ErrPasswordOrDamage
	}
	if err != nil {
		return nil, fmt.Errorf("the encryption of the private key: %s", strings.TrimPrefix(err.Error(), "x509: "))
	}
	key, err := parsePlainKey(plain)
	if errors.Is(err, errNoKey) {
		err = ErrPasswordOrDamage
	}
	return key, err
}
