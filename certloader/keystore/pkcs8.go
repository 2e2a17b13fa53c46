package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // OpenSSL 1.0 encrypted keys so, and they are about
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // within an HMAC, and the standard's default
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"
)

// What the derivation of one key may cost, so that a damaged file is an error
// and no hang: the iterations are as many as Java takes, and the memory of
// scrypt is twice what OpenSSL takes.
const (
	maxIterations   = 5_000_000
	maxScryptMemory = 64 << 20
	maxScryptLanes  = 16
)

// encryptedKey is an EncryptedPrivateKeyInfo (RFC 5958, 3).
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2Params is PBES2-params (RFC 8018, A.4).
type pbes2Params struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

// pbkdf2Params is PBKDF2-params (RFC 8018, A.2).
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// scryptParams is scrypt-params (RFC 7914, 7.1).
type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// blockCipher is how PBES2 may encrypt, always in CBC mode.
type blockCipher struct {
	keyLength int
	new       func(key []byte) (cipher.Block, error)
}

// The algorithms of PBES2 by their object identifiers.
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

	pbkdf2Hashes = map[string]func() hash.Hash{
		"":                    sha1.New, // the default
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.8":  sha256.New224,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
		"1.2.840.113549.2.12": sha512.New512_224,
		"1.2.840.113549.2.13": sha512.New512_256,
	}
	pbes2Ciphers = map[string]blockCipher{
		"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
		"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
		"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
	}
)

// decryptPKCS8 returns the PKCS#8 key in an EncryptedPrivateKeyInfo. It reads
// PBES2 with what OpenSSL writes: PBKDF2 or scrypt, AES or triple DES. Nothing
// proves that the password was right but that a key comes out.
func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var key encryptedKey
	if unmarshal(der, &key) != nil {
		return nil, errNoKey
	}
	if password == "" {
		return nil, ErrEncrypted
	}
	if !key.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("the private key is encrypted as of old, by algorithm %v; encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc", key.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshal(key.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, fmt.Errorf("the encryption of the private key: %w", err)
	}
	scheme, ok := pbes2Ciphers[params.Cipher.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("the private key is encrypted by an unknown cipher, %v", params.Cipher.Algorithm)
	}
	var iv []byte
	if err := unmarshal(params.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, fmt.Errorf("the encryption of the private key: %w", err)
	}
	secret, err := deriveKey(params.KDF, password, scheme.keyLength)
	if err != nil {
		return nil, fmt.Errorf("the encryption of the private key: %w", err)
	}
	block, err := scheme.new(secret)
	if err != nil {
		return nil, err
	}
	return decryptCBC(block, iv, key.Data)
}

// deriveKey makes the key of a cipher from a password.
func deriveKey(kdf pkix.AlgorithmIdentifier, password string, length int) ([]byte, error) {
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		var params pbkdf2Params
		if err := unmarshal(kdf.Parameters.FullBytes, &params); err != nil {
			return nil, err
		}
		newHash, ok := pbkdf2Hashes[params.PRF.Algorithm.String()]
		if !ok {
			return nil, fmt.Errorf("unknown hash function %v", params.PRF.Algorithm)
		}
		if err := checkIterations(int64(params.Iterations)); err != nil {
			return nil, err
		}
		if params.KeyLength != 0 && params.KeyLength != length {
			return nil, fmt.Errorf("a key of %d bytes for a cipher that takes %d", params.KeyLength, length)
		}
		return pbkdf2.Key(newHash, password, params.Salt, params.Iterations, length)

	case kdf.Algorithm.Equal(oidScrypt):
		var params scryptParams
		if err := unmarshal(kdf.Parameters.FullBytes, &params); err != nil {
			return nil, err
		}
		if params.N < 1 || params.R < 1 || params.P < 1 ||
			params.R > maxScryptMemory/128 || params.N > maxScryptMemory/128/params.R || params.P > maxScryptLanes {
			return nil, fmt.Errorf("scrypt with N=%d, r=%d, p=%d; at most %d MiB and p=%d are taken",
				params.N, params.R, params.P, maxScryptMemory>>20, maxScryptLanes)
		}
		if params.KeyLength != 0 && params.KeyLength != length {
			return nil, fmt.Errorf("a key of %d bytes for a cipher that takes %d", params.KeyLength, length)
		}
		return scrypt.Key([]byte(password), params.Salt, params.N, params.R, params.P, length)
	}
	return nil, fmt.Errorf("unknown key derivation %v", kdf.Algorithm)
}

// checkIterations refuses numbers of iterations that none can mean.
func checkIterations(n int64) error {
	if n < 1 || n > maxIterations {
		return fmt.Errorf("a key derivation of %d iterations; from 1 to %d are taken", n, maxIterations)
	}
	return nil
}

// decryptCBC decrypts data and removes its padding.
func decryptCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errors.New("the encrypted private key is damaged")
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	text, ok := unpad(plain, size)
	if !ok {
		return nil, ErrPasswordOrDamage
	}
	return text, nil
}

// unmarshal is asn1.Unmarshal of all of der.
func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("data after the end")
	}
	return err
}
