package keystore

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"

	"sallyport/devpki"
)

// fuzzIterations bounds the key derivations in fuzz targets, for speed alone.
const fuzzIterations = 10_000

// wantSound checks what every identity that loads must be: a key that fits the
// leaf, which comes first.
func wantSound(t *testing.T, identity *tls.Certificate) {
	t.Helper()
	key := identity.PrivateKey.(crypto.Signer)
	if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(identity.Leaf.PublicKey) {
		t.Error("the key does not fit the leaf")
	}
	if !bytes.Equal(identity.Leaf.Raw, identity.Certificate[0]) {
		t.Error("Leaf is not the first certificate")
	}
}

// FuzzJavaKeystore: what loads is sound, and does not with a bit flipped, a byte
// less or under another password. Data is tried with the hash that it has, and
// with the right one, to get past that.
func FuzzJavaKeystore(f *testing.F) {
	id := newTestIdentity(f, devpki.ECDSAP256)
	for _, sample := range samples(f, id)[:2] {
		f.Add(sample.data, "changeit", 100)
	}
	f.Add(javaStore(jksMagic, 1, "", javaKeyEntry(1, "a", withJKS(f, pkcs8(f, id), ""), id.Leaf)), "", 0)
	f.Add(javaStore(jceksMagic, 2, "pw", javaEntry{tag: javaSecretKey, alias: "s"}), "pw", 12)

	f.Fuzz(func(t *testing.T, data []byte, password string, bit int) {
		if len(data) < sha1.Size {
			return
		}
		body := data[:len(data)-sha1.Size]
		if keys, err := javaKeys(body); err == nil && slices.ContainsFunc(keys, costlyJavaKey) {
			return
		}
		for _, data := range [][]byte{data, slices.Concat(body, javaSum(body, password))} {
			identity, err := parseJavaKeystore(data, password)
			if err != nil {
				continue
			}
			wantSound(t, identity)
			if _, err := parseJavaKeystore(data, password+"x"); err == nil {
				t.Error("it opens under another password")
			}
			if _, err := parseJavaKeystore(data[:len(data)-1], password); err == nil {
				t.Error("it loads with its last byte cut off")
			}
			if bit >= 0 && bit < len(data)*8 {
				flipped := bytes.Clone(data)
				flipped[bit/8] ^= 1 << (bit % 8)
				if _, err := parseJavaKeystore(flipped, password); err == nil {
					t.Errorf("it loads with bit %d flipped", bit)
				}
			}
		}
	})
}

func costlyJavaKey(k javaKey) bool {
	var key encryptedKey
	var params jceksParams
	return unmarshal(k.encrypted, &key) == nil &&
		unmarshal(key.Algorithm.Parameters.FullBytes, &params) == nil && params.Iterations > fuzzIterations
}

// FuzzPrivateKey: a key that loads can sign, and written anew, as it is or
// encrypted, it loads as the same.
func FuzzPrivateKey(f *testing.F) {
	id := newTestIdentity(f, devpki.ECDSAP256)
	plain := pkcs8(f, id)
	f.Add(plain, "")
	f.Add(withPBKDF2(f, plain, "changeit", 2), "changeit")
	f.Add(withScrypt(f, plain, "changeit", 16, 1, 1), "changeit")
	f.Add(id.Leaf.Raw, "changeit")

	f.Fuzz(func(t *testing.T, der []byte, password string) {
		if costlyKey(der) {
			return
		}
		key, err := parsePrivateKey(der, password)
		if err != nil {
			return
		}
		same := key.(interface{ Equal(crypto.PrivateKey) bool }).Equal
		plain, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parsePrivateKey(plain, "")
		if err != nil || !same(again) {
			t.Errorf("written anew it does not load as the same: %v", err)
		}
		encrypted := withPBKDF2(t, plain, "pw", 1)
		if again, err := parsePrivateKey(encrypted, "pw"); err != nil || !same(again) {
			t.Errorf("encrypted it does not load as the same: %v", err)
		}
		if _, err := parsePrivateKey(encrypted, ""); err == nil {
			t.Error("encrypted it loads without a password")
		}
	})
}

func costlyKey(der []byte) bool {
	var key encryptedKey
	var pbes2 pbes2Params
	if unmarshal(der, &key) != nil || unmarshal(key.Algorithm.Parameters.FullBytes, &pbes2) != nil {
		return false
	}
	var kdf pbkdf2Params
	var memory scryptParams
	return unmarshal(pbes2.KDF.Parameters.FullBytes, &kdf) == nil && kdf.Iterations > fuzzIterations ||
		unmarshal(pbes2.KDF.Parameters.FullBytes, &memory) == nil && memory.N > 1<<14
}

// FuzzPKCS7: the certificates that load are those that it shows, and written
// anew they load as the same.
func FuzzPKCS7(f *testing.F) {
	id := newTestIdentity(f, devpki.ECDSAP256)
	f.Add(signedData(f, id.Leaf, id.Chain[0]))
	f.Add(signedData(f))
	f.Add(id.Leaf.Raw)

	f.Fuzz(func(t *testing.T, der []byte) {
		certs, err := parsePKCS7(der)
		if err != nil {
			return
		}
		if len(certs) == 0 {
			t.Fatal("neither a certificate nor an error")
		}
		for _, cert := range certs {
			if !bytes.Contains(der, cert.Raw) {
				t.Errorf("certificate %q is not in it", cert.Subject)
			}
		}
		again, err := parsePKCS7(signedData(t, certs...))
		if err != nil || !slices.EqualFunc(certs, again, func(a, b *x509.Certificate) bool { return a.Equal(b) }) {
			t.Errorf("written anew they do not load as the same: %v", err)
		}
		if _, err := parsePKCS7(append(bytes.Clone(der), 0)); err == nil {
			t.Error("it loads with a byte after its end")
		}
	})
}

// FuzzPKCS12: what loads is sound and has one key in it; and no derivation that
// can be seen goes beyond the bound.
func FuzzPKCS12(f *testing.F) {
	id := newTestIdentity(f, devpki.ECDSAP256)
	for _, sample := range samples(f, id)[2:5] {
		f.Add(sample.data, "changeit")
	}
	f.Add(pfxWithMAC(f, 1<<31-1), "")

	f.Fuzz(func(t *testing.T, data []byte, password string) {
		var survey pkcs12Survey
		survey.mac(data)
		survey.walk(data, 0)
		if survey.most > maxIterations {
			if _, err := parsePKCS12(data, password); err == nil {
				t.Errorf("loaded in spite of %d iterations", survey.most)
			}
			return
		}
		if survey.most > fuzzIterations {
			return
		}
		identity, err := parsePKCS12(data, password)
		if err != nil {
			return
		}
		wantSound(t, identity)
		if survey.keys > 1 {
			t.Errorf("loaded with %d keys in it", survey.keys)
		}
	})
}
