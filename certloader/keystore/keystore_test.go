package keystore

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"sallyport/devpki"
)

func TestKeystoresOfEveryKindLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.RSA2048, devpki.Ed25519} {
		id := newTestIdentity(t, kind)
		for _, sample := range samples(t, id) {
			t.Run(sample.name+" of "+kind.String(), func(t *testing.T) {
				t.Parallel()
				identity, err := sample.load(sample.data, "changeit")
				if err != nil {
					t.Fatal(err)
				}
				if !isIdentity(identity, id) {
					t.Error("loaded as another identity")
				}
				for _, wrong := range []string{"", "Changeit", "changeit ", "pässword", "\U0001F511"} {
					if identity, err := sample.load(sample.data, wrong); err == nil {
						t.Errorf("opened by %q: %v", wrong, identity.Leaf.Subject)
					}
				}
			})
		}
	}
}

// A bit that flips must not go unnoticed: it is an error, or what loads is the
// same to the last byte, or, where nothing but the certificate proves a key, it
// is still the key that fits.
func TestAFlippedBitNeverLoadsAnotherIdentity(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	for _, sample := range samples(t, id) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			loaded := 0
			for i := range len(sample.data) * 8 {
				data := bytes.Clone(sample.data)
				data[i/8] ^= 1 << (i % 8)
				identity, err := sample.load(data, "changeit")
				if err != nil {
					continue
				}
				loaded++
				if !isIdentity(identity, id) {
					t.Errorf("with bit %d of byte %d flipped it loads as another identity", i%8, i/8)
				}
			}
			// JKS and JCEKS have a hash over every bit.
			if strings.HasPrefix(sample.name, "J") && loaded > 0 {
				t.Errorf("loaded with any of %d bits flipped", loaded)
			}
			t.Logf("loads as the same with any of %d of %d bits flipped", loaded, len(sample.data)*8)
		})
	}
}

func TestATruncatedKeystoreDoesNotLoad(t *testing.T) {
	t.Parallel()
	for _, sample := range samples(t, newTestIdentity(t, devpki.ECDSAP256)) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			for length := range sample.data {
				if _, err := sample.load(sample.data[:length], "changeit"); err == nil {
					t.Errorf("the first %d of %d bytes load", length, len(sample.data))
				}
			}
			if _, err := sample.load(append(bytes.Clone(sample.data), 0), "changeit"); err == nil {
				t.Error("it loads with a byte after its end")
			}
		})
	}
}

// What is read of certificates alone, in every form and under names that say so,
// or nothing.
func TestCertificatesOfEveryFormat(t *testing.T) {
	t.Parallel()
	id, other := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	bag := signedData(t, id.Leaf, id.Chain[0])
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for name, test := range map[string]struct {
		data []byte
		file string
		want string // empty: it loads as the leaf and its issuer
	}{
		"PEM":                                 {data: id.CertPEM(), file: "c"},
		"PEM of before RFC 7468":              {data: append(block("X509 CERTIFICATE", id.Leaf.Raw), block("CERTIFICATE", id.Chain[0].Raw)...), file: "c.pem"},
		"DER, one behind the other":           {data: slices.Concat(id.Leaf.Raw, id.Chain[0].Raw), file: "c.der"},
		"PKCS#7":                              {data: bag, file: "c.p7b"},
		"PKCS#7 without a name for it":        {data: bag, file: "c"},
		"PKCS#7 in PEM":                       {data: block("PKCS7", bag), file: "c.p7b"},
		"PKCS#7 in PEM, as CMS":               {data: block("CMS", bag), file: "c.pem"},
		"PKCS#7 in PEM, beside a certificate": {data: append(block("CERTIFICATE", id.Leaf.Raw), block("PKCS #7 SIGNED DATA", signedData(t, id.Chain[0]))...), file: "c.pem"},
		"DER that goes on as something else":  {data: append(bytes.Clone(id.Leaf.Raw), "more"...), file: "c.der", want: "not a certificate in DER"},
		"a key in DER":                        {data: pkcs8(t, other), file: "c.der", want: "not a certificate in DER"},
		"PKCS#7 in PEM that is damaged":       {data: block("PKCS7", bag[:len(bag)-1]), file: "c.pem", want: "PKCS#7"},
		"text":                                {data: []byte("a certificate"), file: "c.crt", want: "no certificate in PEM, DER or PKCS#7"},
		"a key in PEM":                        {data: other.KeyPEM(), file: "c.crt", want: "no certificate in it; it holds PRIVATE KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certs, err := Certificates(test.data, test.file)
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error = %v, want %q", err, test.want)
				}
			case err != nil:
				t.Error(err)
			case len(certs) != 2 || !certs[0].Equal(id.Leaf) || !certs[1].Equal(id.Chain[0]):
				t.Errorf("%d certificates, want the leaf and its issuer", len(certs))
			}
		})
	}
}

func TestPrivateKeysOfEveryFormat(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.RSA2048)
	pkcs1 := x509.MarshalPKCS1PrivateKey(id.Key.(*rsa.PrivateKey))
	// As OpenSSL writes them without -topk8.
	traditional := func(der []byte, change func(*pem.Block)) []byte {
		block := must[*pem.Block](t)(x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", der, []byte("changeit"), x509.PEMCipherAES256)) //nolint:staticcheck // as they do still
		change(block)
		return pem.EncodeToMemory(block)
	}
	unchanged := func(*pem.Block) {}
	for name, test := range map[string]struct {
		data           []byte
		file, password string
		want           string // empty: it loads
	}{
		"PEM":                           {data: id.KeyPEM(), file: "k"},
		"PKCS#8 in DER":                 {data: pkcs8(t, id), file: "k.der"},
		"PKCS#1 in DER":                 {data: pkcs1, file: "k"},
		"PKCS#8 in DER, encrypted":      {data: withPBKDF2(t, pkcs8(t, id), "changeit", 2), file: "k.key", password: "changeit"},
		"PEM encrypted as of old":       {data: traditional(pkcs1, unchanged), file: "k.pem", password: "changeit"},
		"… without a password":          {data: traditional(pkcs1, unchanged), file: "k.pem", want: ErrEncrypted.Error()},
		"… with something else in it":   {data: traditional([]byte("no key"), unchanged), file: "k.pem", password: "changeit", want: ErrPasswordOrDamage.Error()},
		"… by a cipher that nobody has": {data: traditional(pkcs1, func(b *pem.Block) { b.Headers["DEK-Info"] = "ROT13,00" }), file: "k.pem", password: "changeit", want: "the encryption of the private key: unknown encryption mode"},
		"PKCS#7":                        {data: signedData(t, id.Leaf), file: "k", want: "no private key in PEM or DER"},
		"text":                          {data: []byte("a private key"), file: "k", want: "no private key in PEM or DER"},
		"a certificate in DER":          {data: id.Leaf.Raw, file: "k.der", want: errNoKey.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := PrivateKey(test.data, test.file, test.password)
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error = %v, want %q", err, test.want)
				}
			case err != nil:
				t.Error(err)
			case !id.Key.(*rsa.PrivateKey).Equal(key):
				t.Error("it loads as another key")
			}
		})
	}
}
