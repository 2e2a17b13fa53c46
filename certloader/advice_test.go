package certloader_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestErrorsSayWhichFlagHelps(t *testing.T) {
	t.Parallel()
	_, id := subIdentity(t, devpki.ECDSAP256)
	bag, err := id.PKCS12("right")
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := pem.Decode(id.KeyPEM())
	block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", plain.Bytes, []byte("right"), x509.PEMCipherAES128) //nolint:staticcheck // as OpenSSL does still
	if err != nil {
		t.Fatal(err)
	}
	cert := write(t, "c.pem", id.CertPEM())
	der := write(t, "c.der", id.Leaf.Raw)
	misnamed := write(t, "der.pem", id.Leaf.Raw)
	key := write(t, "k.pem", pem.EncodeToMemory(block))
	keystore := write(t, "s.p12", bag)

	const separate = ": a keystore: a key with its chain goes with --keystore, and keytool or openssl pkcs12 makes PEM of certificates alone"
	for name, test := range map[string]struct {
		opts certloader.FileOptions
		want string
	}{
		"a wrong password": {
			certloader.FileOptions{Keystore: keystore, Password: "wrong"},
			"--keystore " + keystore + ": wrong password; give the right one by --storepass or --storepass-file",
		},
		"a keystore without its password": {
			certloader.FileOptions{Keystore: keystore},
			"--keystore " + keystore + ": the keystore needs a password; give it by --storepass-file or --storepass",
		},
		"a wrong password, or damage": {
			certloader.FileOptions{Cert: cert, Key: key, Password: "wrong"},
			"--key " + key + ": wrong password, or the file is damaged; give the right one by --storepass or --storepass-file",
		},
		"no password": {
			certloader.FileOptions{Cert: cert, Key: key},
			"--key " + key + ": the private key is encrypted; give its password by --storepass or --storepass-file",
		},
		"DER under the name of PEM": {
			certloader.FileOptions{CABundle: misnamed},
			"--cacert " + misnamed + ": not PEM but binary, which its name must tell: .der, .p7b or, for --keystore, .p12",
		},
		"a keystore as certificates": {
			certloader.FileOptions{Cert: keystore, Key: key},
			"--cert " + keystore + separate,
		},
		"a keystore as a key": {
			certloader.FileOptions{Cert: cert, Key: keystore},
			"--key " + keystore + separate,
		},
		"a keystore as trust": {
			certloader.FileOptions{CABundle: keystore},
			"--cacert " + keystore + separate,
		},
		"a certificate as a keystore": {
			certloader.FileOptions{Keystore: der},
			"--keystore " + der + ": DER or PKCS#7, which holds no chain with its key; give two files by --cert and --key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := certloader.Files(test.opts).Load(t.Context()); err == nil || err.Error() != test.want {
				t.Errorf("error = %v\nwant    %s", err, test.want)
			}
		})
	}
}
