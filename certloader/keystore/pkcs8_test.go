package keystore

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"golang.org/x/crypto/scrypt"
	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

// encryptPKCS8 encrypts as OpenSSL 3 does, in AES-256.
func encryptPKCS8(t testing.TB, plain []byte, password string, kdf pkix.AlgorithmIdentifier, secret []byte) []byte {
	t.Helper()
	iv := random(aes.BlockSize)
	block := must[cipher.Block](t)(aes.NewCipher(secret))
	aes256 := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	return marshal(t, encryptedKey{
		Algorithm: algorithm(t, oidPBES2, pbes2Params{KDF: kdf, Cipher: algorithm(t, aes256, iv)}),
		Data:      encryptCBC(block, iv, plain),
	})
}

func withPBKDF2(t testing.TB, plain []byte, password string, iterations int) []byte {
	t.Helper()
	salt := random(16)
	prf := algorithm(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, asn1.NullRawValue)
	secret := must[[]byte](t)(pbkdf2.Key(sha256.New, password, salt, max(1, min(iterations, 10)), 32))
	kdf := algorithm(t, oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: iterations, PRF: prf})
	return encryptPKCS8(t, plain, password, kdf, secret)
}

func withScrypt(t testing.TB, plain []byte, password string, n, r, p int) []byte {
	t.Helper()
	salt := random(16)
	secret := random(32)
	if n == 16 && r == 1 && p == 1 {
		secret = must[[]byte](t)(scrypt.Key([]byte(password), salt, n, r, p, 32))
	}
	return encryptPKCS8(t, plain, password, algorithm(t, oidScrypt, scryptParams{Salt: salt, N: n, R: r, P: p}), secret)
}

// What a file says about the cost of its key derivation is bounded: each of
// these would take hours, or all memory.
func TestTheCostOfAKeyDerivationIsBounded(t *testing.T) {
	t.Parallel()
	const endless = 1<<31 - 1
	id := newTestIdentity(t, devpki.ECDSAP256)
	plain := pkcs8(t, id)
	bag := must[[]byte](t)(pkcs12.Modern2023.WithIterations(0x7ffe).Encode(id.Key, id.Leaf, id.Chain, "changeit"))
	key := func(data []byte) func() error {
		return func() error { _, err := parsePrivateKey(data, "changeit"); return err }
	}
	java := func(encrypted []byte) func() error {
		data := javaStore(jceksMagic, 2, "changeit", javaKeyEntry(2, "server", encrypted, id.Leaf))
		return func() error { _, err := parseJavaKeystore(data, "changeit"); return err }
	}
	for name, test := range map[string]struct {
		load func() error
		want string
	}{
		"PBKDF2":                {key(withPBKDF2(t, plain, "changeit", endless)), "2147483647 iterations"},
		"PBKDF2, none":          {key(withPBKDF2(t, plain, "changeit", 0)), "0 iterations"},
		"PBKDF2, below none":    {key(withPBKDF2(t, plain, "changeit", -1)), "-1 iterations"},
		"scrypt, N":             {key(withScrypt(t, plain, "changeit", 1<<30, 8, 1)), "N=1073741824"},
		"scrypt, r":             {key(withScrypt(t, plain, "changeit", 16, 1<<30, 1)), "r=1073741824"},
		"scrypt, p":             {key(withScrypt(t, plain, "changeit", 16, 1, 1<<20)), "p=1048576"},
		"scrypt, none":          {key(withScrypt(t, plain, "changeit", 16, 1, 0)), "p=0"},
		"scrypt, no power of 2": {key(withScrypt(t, plain, "changeit", 0x10001, 1, 1)), "power of 2"},
		"JCEKS":                 {java(withJCEKS(t, plain, "changeit", endless)), "2147483647 iterations"},
		"JCEKS, none":           {java(withJCEKS(t, plain, "changeit", 0)), "0 iterations"},
		"PKCS#12, MAC":          {func() error { return surveyPKCS12(pfxWithMAC(t, endless)) }, "2147483647 iterations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.load(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
	var survey pkcs12Survey
	survey.walk(bag, 0)
	if survey.most != 0x7ffe || survey.keys != 1 {
		t.Errorf("seen %d iterations and %d keys, want 32766 and 1", survey.most, survey.keys)
	}
}

func TestAPrivateKeyIsAllThatIsInDER(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	ec := must[[]byte](t)(x509.MarshalECPrivateKey(id.Key.(*ecdsa.PrivateKey)))
	for name, der := range map[string][]byte{"SEC 1": ec, "PKCS#8": pkcs8(t, id)} {
		if _, err := parsePrivateKey(der, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := parsePrivateKey(append(bytes.Clone(der), 0), ""); err == nil {
			t.Errorf("%s loads with a byte after its end", name)
		}
	}
}

// A key derivation may say how long the key is that it makes. That is the one that
// the cipher takes, or the file is damaged.
func TestAKeyDerivationThatSaysHowLongItsKeyIs(t *testing.T) {
	t.Parallel()
	plain := pkcs8(t, newTestIdentity(t, devpki.ECDSAP256))
	salt := random(16)
	sha256PRF := algorithm(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, asn1.NullRawValue)
	for _, test := range []struct {
		length int
		want   string // empty: it loads
	}{
		{length: 32},
		{length: 16, want: "a key of 16 bytes for a cipher that takes 32"},
	} {
		for name, kdf := range map[string]struct {
			algorithm pkix.AlgorithmIdentifier
			secret    []byte
		}{
			"PBKDF2": {
				algorithm(t, oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: 2, KeyLength: test.length, PRF: sha256PRF}),
				must[[]byte](t)(pbkdf2.Key(sha256.New, "changeit", salt, 2, 32)),
			},
			"scrypt": {
				algorithm(t, oidScrypt, scryptParams{Salt: salt, N: 16, R: 1, P: 1, KeyLength: test.length}),
				must[[]byte](t)(scrypt.Key([]byte("changeit"), salt, 16, 1, 1, 32)),
			},
		} {
			_, err := parsePrivateKey(encryptPKCS8(t, plain, "changeit", kdf.algorithm, kdf.secret), "changeit")
			if err == nil && test.want != "" || err != nil && !strings.Contains(err.Error(), cmp.Or(test.want, "no error")) {
				t.Errorf("%s of %d bytes: error = %v, want %q", name, test.length, err, test.want)
			}
		}
	}
}
