package keystore

import (
	"errors"
	"testing"

	"sallyport/devpki"
)

func TestErrorsThatCallersHaveAdviceOn(t *testing.T) {
	t.Parallel()
	id, stranger := newTestIdentity(t, devpki.ECDSAP256), newTestIdentity(t, devpki.ECDSAP256)
	bag := must[[]byte](t)(id.PKCS12("right"))
	java := javaStore(jksMagic, 2, "right", javaKeyEntry(2, "server", withJKS(t, pkcs8(t, id), "right"), id.Leaf))
	encrypted := withPBKDF2(t, pkcs8(t, id), "right", 2)

	identity := func(data []byte, name, password string) func() error {
		return func() error { _, err := Identity(data, name, password); return err }
	}
	certificates := func(data []byte, name string) func() error {
		return func() error { _, err := Certificates(data, name); return err }
	}
	privateKey := func(data []byte, name, password string) func() error {
		return func() error { _, err := PrivateKey(data, name, password); return err }
	}
	for name, test := range map[string]struct {
		load func() error
		want error
	}{
		"PKCS#12 under another password": {identity(bag, "s.p12", "wrong"), ErrPassword},
		"JKS under another password":     {identity(java, "s.jks", "wrong"), ErrPasswordOrDamage},
		"PKCS#12 without its password":   {identity(bag, "s.p12", ""), ErrNoPassword},
		"JKS without its password":       {identity(java, "s.jks", ""), ErrNoPassword},
		"a key under another password":   {privateKey(encrypted, "k.der", "wrong"), ErrPasswordOrDamage},
		"an encrypted key":               {privateKey(encrypted, "k.der", ""), ErrEncrypted},
		"the key of another":             {identity(append(stranger.KeyPEM(), id.CertPEM()...), "s.pem", ""), ErrMismatch},
		"an identity of DER as PEM":      {identity(id.Leaf.Raw, "s.pem", ""), ErrBinary},
		"certificates of DER as PEM":     {certificates(id.Leaf.Raw, "c.pem"), ErrBinary},
		"a key of DER as PEM":            {privateKey(pkcs8(t, id), "k.pem", ""), ErrBinary},
		"certificates of PKCS#12":        {certificates(bag, ""), ErrWholeIdentity},
		"certificates of JKS":            {certificates(java, ""), ErrWholeIdentity},
		"a key of PKCS#12":               {privateKey(bag, "", "right"), ErrWholeIdentity},
		"an identity of DER":             {identity(id.Leaf.Raw, "", ""), ErrHalfIdentity},
		"an identity of PKCS#7":          {identity(signedData(t, id.Leaf), "", ""), ErrHalfIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.load(); !errors.Is(err, test.want) {
				t.Errorf("error = %v, want %v", err, test.want)
			}
		})
	}
}
