package keystore

import (
	"bytes"
	"crypto/des" //nolint:gosec // JCEKS has triple DES
	"crypto/md5" //nolint:gosec // and MD5
	"fmt"
)

// jceksParams is the parameters of PBEWithMD5AndTripleDES.
type jceksParams struct {
	Salt       []byte
	Iterations int
}

// decryptJCEKS undoes PBEWithMD5AndTripleDES, Sun's own extension of PKCS#5 1.5
// to a longer key (RFC 8018, 5.1 has the original), which no standard describes.
func decryptJCEKS(key encryptedKey, password string) ([]byte, error) {
	var params jceksParams
	if err := unmarshal(key.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, fmt.Errorf("the encryption of the private key: %w", err)
	}
	if len(params.Salt) != 8 {
		return nil, fmt.Errorf("the encryption of the private key: a salt of %d bytes, not 8", len(params.Salt))
	}
	if err := checkIterations(int64(params.Iterations)); err != nil {
		return nil, err
	}
	// Java makes such keys of printable ASCII alone.
	for i := range len(password) {
		if password[i] < ' ' || password[i] > '~' {
			return nil, ErrPasswordOrDamage
		}
	}
	secret, iv := deriveJCEKS(params, password)
	block, err := des.NewTripleDESCipher(secret) //nolint:gosec // the format's
	if err != nil {
		return nil, err
	}
	return decryptCBC(block, iv, key.Data)
}

// deriveJCEKS makes a key and an initialization vector. Each half of the salt is
// hashed with the password, over and over; the two hashes in a row are 32 bytes,
// of which the first 24 are the key.
func deriveJCEKS(params jceksParams, password string) (secret, iv []byte) {
	halves := [2][]byte{params.Salt[:4], params.Salt[4:]}
	if bytes.Equal(halves[0], halves[1]) {
		// Lest the two hashes be the same.
		h := halves[0]
		halves[0] = []byte{h[3], h[2], h[1], h[0]}
	}
	var out []byte
	hash := md5.New() //nolint:gosec // the format's
	for _, half := range halves {
		digest := bytes.Clone(half) // not the file's data, which is written over
		for range params.Iterations {
			hash.Reset()
			hash.Write(digest)
			hash.Write([]byte(password))
			digest = hash.Sum(digest[:0])
		}
		out = append(out, digest...)
	}
	return out[:des.BlockSize*3], out[des.BlockSize*3:]
}
