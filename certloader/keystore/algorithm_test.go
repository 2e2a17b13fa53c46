package keystore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"sallyport/devpki"
)

// foreignKey is a key in PKCS#8 that says it is of an algorithm.
func foreignKey(t testing.TB, oid asn1.ObjectIdentifier, params any) []byte {
	t.Helper()
	id := pkix.AlgorithmIdentifier{Algorithm: oid}
	if params != nil {
		id = algorithm(t, oid, params)
	}
	return marshal(t, struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, id, marshal(t, random(57))})
}

func TestAKeyOfAnAlgorithmThatTLSCannotUseIsNamed(t *testing.T) {
	t.Parallel()
	x25519 := foreignKey(t, asn1.ObjectIdentifier{1, 3, 101, 110}, nil)
	x25519 = append(x25519[:len(x25519)-59], marshal(t, random(32))...)
	x25519[1] -= 59 - 34
	x25519[len(x25519)-35] -= 59 - 34
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"Ed448":             {foreignKey(t, asn1.ObjectIdentifier{1, 3, 101, 113}, nil), "is Ed448, which"},
		"RSA-PSS":           {foreignKey(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, nil), "is RSA-PSS, which"},
		"X25519":            {x25519, "is X25519, which"},
		"one without name":  {foreignKey(t, asn1.ObjectIdentifier{1, 2, 3, 4}, nil), "is 1.2.3.4, which"},
		"another curve":     {foreignKey(t, oidECKey, asn1.ObjectIdentifier{1, 3, 132, 0, 10}), "is ECDSA on curve 1.3.132.0.10, which"},
		"a damaged Ed25519": {foreignKey(t, asn1.ObjectIdentifier{1, 3, 101, 112}, nil), errNoKey.Error()},
		"a damaged P-256":   {foreignKey(t, oidECKey, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}), errNoKey.Error()},
		"a curve of no OID": {foreignKey(t, oidECKey, asn1.NullRawValue), errNoKey.Error()},
		"encrypted Ed448":   {withPBKDF2(t, foreignKey(t, asn1.ObjectIdentifier{1, 3, 101, 113}, nil), "pw", 2), "is Ed448, which"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := parsePrivateKey(test.der, "pw"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestP224IsRefused(t *testing.T) {
	t.Parallel()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	if _, err := Pair([]*x509.Certificate{cert}, key); err == nil || !strings.Contains(err.Error(), "ECDSA P-224, which TLS here cannot use") {
		t.Errorf("Pair: %v", err)
	}
}

func TestPKCS12SaysWhatItLacks(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	trust := must[[]byte](t)(pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{id.Leaf}, "pw"))
	if _, err := parsePKCS12(trust, "pw"); err == nil || !strings.HasPrefix(err.Error(), "no private key in it") {
		t.Errorf("a trust store: %v", err)
	}
	empty := must[[]byte](t)(pkcs12.Modern.EncodeTrustStore(nil, "pw"))
	if _, err := parsePKCS12(empty, "pw"); err == nil || !strings.HasPrefix(err.Error(), "no certificate in it") {
		t.Errorf("an empty one: %v", err)
	}
}

func TestPEMThatAnEditorHasTouched(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	chain := string(id.CertPEM())
	wide := "\xff\xfe"
	for _, b := range []byte(chain) {
		wide += string([]byte{b, 0})
	}
	for name, test := range map[string]struct {
		data, file string
		want       string // empty: it loads
	}{
		"a mark of UTF-8":       {data: "\ufeff" + chain, file: "c.crt"},
		"text on lines before":  {data: "subject=web\n" + chain, file: "c.pem"},
		"text on the same line": {data: "subject=web " + chain, file: "c.pem", want: "1 of 2 PEM blocks can be read: a -----BEGIN stands behind other text"},
		"no break between":      {data: strings.TrimSpace(chain) + chain, file: "c.pem", want: "-----BEGIN stands behind other text"},
		"UTF-16":                {data: wide, file: "c.pem", want: "UTF-16"},
		"UTF-16, by no name":    {data: wide, file: "c.crt", want: "UTF-16"},
		"cut short":             {data: chain[:len(chain)-30], file: "c.pem", want: "truncated or damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certs, err := Certificates([]byte(test.data), test.file)
			switch {
			case test.want == "" && (err != nil || len(certs) != 2):
				t.Errorf("%d certificates, %v", len(certs), err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}
