package keystore

import (
	"bytes"
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

// newTestIdentity makes an identity with an intermediate.
func newTestIdentity(t testing.TB, kind devpki.KeyKind) *devpki.Identity {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: "test CA"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := sub.Issue(devpki.Request{CommonName: "server", Key: kind})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// isIdentity reports whether loaded is id, chain and key.
func isIdentity(loaded *tls.Certificate, id *devpki.Identity) bool {
	want := id.TLSCertificate()
	key, ok := loaded.PrivateKey.(interface{ Equal(crypto.PrivateKey) bool })
	return ok && key.Equal(id.Key) && sameChain(loaded, &want) && loaded.Leaf.Equal(id.Leaf)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func random(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out) // never fails
	return out
}

func pkcs8(t testing.TB, id *devpki.Identity) []byte {
	t.Helper()
	return must[[]byte](t)(x509.MarshalPKCS8PrivateKey(id.Key))
}

// marshal is asn1.Marshal of what cannot fail.
func marshal(t testing.TB, value any) []byte {
	t.Helper()
	return must[[]byte](t)(asn1.Marshal(value))
}

func algorithm(t testing.TB, oid asn1.ObjectIdentifier, params any) pkix.AlgorithmIdentifier {
	t.Helper()
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: marshal(t, params)}}
}

func encryptCBC(block cipher.Block, iv, plain []byte) []byte {
	n := block.BlockSize() - len(plain)%block.BlockSize()
	padded := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return padded
}

// sample is a keystore under the password "changeit", or an encrypted key.
type sample struct {
	name string
	data []byte
	load func(data []byte, password string) (*tls.Certificate, error)
}

// samples makes one small one of each kind, all of the same identity.
func samples(t testing.TB, id *devpki.Identity) []sample {
	t.Helper()
	const password = "changeit"
	plain := pkcs8(t, id)
	certs := append([]*x509.Certificate{id.Leaf}, id.Chain...)
	store := func(magic uint32, encrypted []byte) []byte {
		return javaStore(magic, 2, password, javaKeyEntry(2, "server", encrypted, certs...))
	}
	bare := func(data []byte, password string) (*tls.Certificate, error) {
		key, err := parsePrivateKey(data, password)
		if err != nil {
			return nil, err
		}
		return Pair(certs, key)
	}
	encode := func(encoder *pkcs12.Encoder) []byte {
		return must[[]byte](t)(encoder.WithIterations(2).Encode(id.Key, id.Leaf, id.Chain, password))
	}
	return []sample{
		{"JKS", store(jksMagic, withJKS(t, plain, password)), parseJavaKeystore},
		{"JCEKS", store(jceksMagic, withJCEKS(t, plain, password, 2)), parseJavaKeystore},
		{"modern PKCS#12", encode(pkcs12.Modern2023), parsePKCS12},
		{"PKCS#12 with PBMAC1", encode(pkcs12.Modern2026), parsePKCS12},
		{"old PKCS#12", encode(pkcs12.LegacyRC2), parsePKCS12},
		{"PKCS#8 under PBKDF2", withPBKDF2(t, plain, password, 2), bare},
		{"PKCS#8 under scrypt", withScrypt(t, plain, password, 16, 1, 1), bare},
	}
}
