package certloader_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"sallyport/certloader"
	"sallyport/devpki"
)

func load(t testing.TB, opts certloader.FileOptions) *certloader.Material {
	t.Helper()
	m, err := certloader.Files(opts).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantIdentity checks that cert is id with its whole chain and its key.
func wantIdentity(t *testing.T, cert *tls.Certificate, id *devpki.Identity) {
	t.Helper()
	if cert == nil {
		t.Fatal("no identity")
	}
	want := id.TLSCertificate()
	if !slices.EqualFunc(cert.Certificate, want.Certificate, bytes.Equal) {
		t.Errorf("%d certificates, not the %d of %s in order", len(cert.Certificate), len(want.Certificate), id.Leaf.Subject)
	}
	if cert.Leaf == nil || !cert.Leaf.Equal(id.Leaf) {
		t.Error("Leaf is not set to the leaf")
	}
	if key, ok := cert.PrivateKey.(interface{ Equal(crypto.PrivateKey) bool }); !ok || !key.Equal(id.Key) {
		t.Errorf("the key is a %T, not the one of the identity", cert.PrivateKey)
	}
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// subIdentity is an identity with an intermediate.
func subIdentity(t testing.TB, kind devpki.KeyKind) (*devpki.CA, *devpki.Identity) {
	t.Helper()
	ca := newCA(t, devpki.Options{CommonName: "test CA"})
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	return ca, issue(t, sub, devpki.Request{CommonName: "server", DNSNames: []string{"localhost"}, Key: kind})
}

func TestKeysOfEveryKindAndEncodingLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.ECDSAP384, devpki.RSA2048, devpki.Ed25519} {
		_, id := subIdentity(t, kind)
		keys := map[string][]byte{"PKCS#8": id.KeyPEM()}
		pkcs8, _ := pem.Decode(id.KeyPEM())
		switch key := id.Key.(type) {
		case *rsa.PrivateKey:
			keys["PKCS#1"] = pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
			keys["PKCS#8 under the wrong label"] = pemBlock("RSA PRIVATE KEY", pkcs8.Bytes)
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			keys["SEC 1"] = pemBlock("EC PRIVATE KEY", der)
			keys["SEC 1 after its parameters"] = append(pemBlock("EC PARAMETERS", []byte{6, 0}), keys["SEC 1"]...)
		}
		for encoding, key := range keys {
			t.Run(kind.String()+" in "+encoding, func(t *testing.T) {
				t.Parallel()
				m := load(t, certloader.FileOptions{Cert: write(t, "c.pem", id.CertPEM()), Key: write(t, "k.pem", key)})
				wantIdentity(t, m.Identity, id)
				m = load(t, certloader.FileOptions{Keystore: write(t, "both.pem", append(key, id.CertPEM()...))})
				wantIdentity(t, m.Identity, id)
			})
		}
		for name, encoder := range map[string]*pkcs12.Encoder{
			"modern PKCS#12":     pkcs12.Modern,
			"triple DES PKCS#12": pkcs12.LegacyDES,
			"RC2 PKCS#12":        pkcs12.LegacyRC2,
		} {
			for _, password := range []string{"", "pässword"} {
				t.Run(kind.String()+" in "+name+" under "+password, func(t *testing.T) {
					t.Parallel()
					data, err := encoder.Encode(id.Key, id.Leaf, id.Chain, password)
					if err != nil {
						t.Fatal(err)
					}
					m := load(t, certloader.FileOptions{Keystore: write(t, "both.p12", data), Password: password})
					wantIdentity(t, m.Identity, id)
				})
			}
		}
	}
}

func TestKeystoreFormatComesFromExtensionElseContent(t *testing.T) {
	t.Parallel()
	_, id := subIdentity(t, devpki.ECDSAP256)
	bag, err := id.PKCS12("")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"x.pem": id.CombinedPEM(), "x.PEM": id.CombinedPEM(), "x.crt": id.CombinedPEM(), "x": id.CombinedPEM(), "x.keystore": id.CombinedPEM(),
		"x.p12": bag, "x.P12": bag, "x.pfx": bag, "y": bag, "y.keystore": bag,
		"p12.pem": bag, "p12.crt": bag, "pem.p12": id.CombinedPEM(), "pem.PFX": id.CombinedPEM(), "new.jks": bag,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantIdentity(t, load(t, certloader.FileOptions{Keystore: write(t, name, data)}).Identity, id)
		})
	}
}

func TestTheCertificateThatTheKeyFitsBecomesTheLeaf(t *testing.T) {
	t.Parallel()
	_, id := subIdentity(t, devpki.ECDSAP256)
	reversed := append(pemBlock("CERTIFICATE", id.Chain[0].Raw), pemBlock("CERTIFICATE", id.Leaf.Raw)...)

	m := load(t, certloader.FileOptions{Cert: write(t, "c.pem", reversed), Key: write(t, "k.pem", id.KeyPEM())})
	wantIdentity(t, m.Identity, id)
	m = load(t, certloader.FileOptions{Keystore: write(t, "s.pem", append(reversed, id.KeyPEM()...))})
	wantIdentity(t, m.Identity, id)
	bag, err := pkcs12.Modern.Encode(id.Key, id.Chain[0], []*x509.Certificate{id.Leaf}, "")
	if err != nil {
		t.Fatal(err)
	}
	m = load(t, certloader.FileOptions{Keystore: write(t, "s.p12", bag)})
	wantIdentity(t, m.Identity, id)
}

func TestTextAroundPEMBlocksIsNoError(t *testing.T) {
	t.Parallel()
	ca, id := subIdentity(t, devpki.ECDSAP256)
	text := []byte("Bag Attributes\n    friendlyName: server\nsubject=CN = server\n")
	windows := bytes.ReplaceAll(append(text, id.CombinedPEM()...), []byte("\n"), []byte("\r\n"))
	m := load(t, certloader.FileOptions{
		Keystore: write(t, "s.pem", append(windows, text...)),
		CABundle: write(t, "ca.pem", append(text, ca.PEM()...)),
	})
	wantIdentity(t, m.Identity, id)
	if len(m.CAs) != 1 {
		t.Errorf("%d CAs", len(m.CAs))
	}
}

func TestTrustComesFromTheBundleOrElseTheSystem(t *testing.T) {
	t.Parallel()
	one, two := newCA(t, devpki.Options{CommonName: "one"}), newCA(t, devpki.Options{CommonName: "two"})
	m := load(t, certloader.FileOptions{CABundle: write(t, "ca.pem", append(one.PEM(), two.PEM()...))})
	if len(m.CAs) != 2 || !m.CAs[0].Equal(one.Certificate()) || !m.CAs[1].Equal(two.Certificate()) {
		t.Errorf("CAs = %v", m.CAs)
	}
	for _, ca := range []*devpki.CA{one, two} {
		if _, err := issue(t, ca, devpki.Request{CommonName: "x"}).Leaf.Verify(x509.VerifyOptions{Roots: m.Roots}); err != nil {
			t.Errorf("%s: %v", ca.Certificate().Subject, err)
		}
	}
	if m.Identity != nil || m.Origin != "" {
		t.Errorf("identity %v of %q without a file", m.Identity, m.Origin)
	}
	if m = load(t, certloader.FileOptions{}); m.Roots != nil || m.CAs != nil || m.Identity != nil {
		t.Errorf("nothing named, but got %+v", m)
	}
}

func TestPasswordsComeFromAFileToo(t *testing.T) {
	t.Parallel()
	_, id := subIdentity(t, devpki.ECDSAP256)
	bag, err := id.PKCS12(" open sesame ")
	if err != nil {
		t.Fatal(err)
	}
	keystore := write(t, "s.p12", bag)
	for _, content := range []string{" open sesame ", " open sesame \n", " open sesame \r\n"} {
		path := write(t, "pass", []byte(content))
		wantIdentity(t, load(t, certloader.FileOptions{Keystore: keystore, PasswordFile: path}).Identity, id)
	}
	missing := filepath.Join(t.TempDir(), "pass")
	for path, want := range map[string]string{
		missing:                                  "--storepass-file " + missing + ": no such file",
		write(t, "pass", nil):                    "the file is empty",
		write(t, "pass", []byte("open sesame")):  "--keystore " + keystore + ": wrong password",
		write(t, "pass", []byte("open\nsesame")): "--keystore " + keystore + ": wrong password",
	} {
		_, err := certloader.Files(certloader.FileOptions{Keystore: keystore, PasswordFile: path}).Load(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("error = %v, want %q and no password", err, want)
		}
	}
	pair := certloader.FileOptions{Cert: write(t, "c.pem", id.CertPEM()), Key: write(t, "k.pem", id.KeyPEM()), PasswordFile: missing}
	if _, err := certloader.Files(pair).Load(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "--storepass-file "+missing+": ") {
		t.Errorf("with a key: error = %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	ca, id := subIdentity(t, devpki.ECDSAP256)
	other := issue(t, ca, devpki.Request{CommonName: "other"})
	bag, err := id.PKCS12("right")
	if err != nil {
		t.Fatal(err)
	}
	unencrypted, _ := pem.Decode(id.KeyPEM())
	block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", unencrypted.Bytes, []byte("other"), x509.PEMCipherAES128) //nolint:staticcheck // as OpenSSL does still
	if err != nil {
		t.Fatal(err)
	}
	legacy := pem.EncodeToMemory(block)
	// PKCS#5 1.5, pbeWithMD5AndDES-CBC, as OpenSSL 1.0 did.
	type algorithm struct{ OID asn1.ObjectIdentifier }
	outdated, err := asn1.Marshal(struct {
		Algorithm algorithm
		Data      []byte
	}{algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 3}}, []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pemBlock("ENCRYPTED PRIVATE KEY", outdated)
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	agreementDER, err := x509.MarshalPKCS8PrivateKey(agreement)
	if err != nil {
		t.Fatal(err)
	}
	exchange := pemBlock("PRIVATE KEY", agreementDER)
	damaged := bytes.Replace(id.CertPEM(), []byte("MII"), []byte("M!I"), 1)
	flipped := pemBlock("CERTIFICATE", append([]byte{0x31}, id.Leaf.Raw[1:]...))
	cert := write(t, "good-cert.pem", id.CertPEM())
	key := write(t, "good-key.pem", id.KeyPEM())
	directory := t.TempDir()
	loop := filepath.Join(t.TempDir(), "loop.pem")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	endless := write(t, "endless.pem", nil)
	if err := os.Truncate(endless, 17<<20); err != nil {
		t.Fatal(err)
	}
	half := func(data []byte) []byte { return data[:len(data)*2/3] }

	certFile := func(path string) certloader.FileOptions { return certloader.FileOptions{Cert: path, Key: key} }
	keyFile := func(path string) certloader.FileOptions { return certloader.FileOptions{Cert: cert, Key: path} }
	keystore := func(path string) certloader.FileOptions {
		return certloader.FileOptions{Keystore: path, Password: "right"}
	}
	bundle := func(path string) certloader.FileOptions { return certloader.FileOptions{CABundle: path} }
	flags := map[string]func(path string) certloader.FileOptions{"--cert": certFile, "--key": keyFile, "--keystore": keystore, "--cacert": bundle}

	type test struct {
		name, flag, path string
		opts             certloader.FileOptions
		want             string
		is               error
	}
	var tests []test
	for flag, opts := range flags {
		add := func(name, path, want string, is error) {
			tests = append(tests, test{name: flag + " " + name, flag: flag, path: path, opts: opts(path), want: want, is: is})
		}
		file := func(name string, data []byte, want string) { add(name, write(t, "x.pem", data), want, nil) }
		add("missing", filepath.Join(directory, "none.pem"), "no such file", fs.ErrNotExist)
		add("a directory", directory, "is a directory", nil)
		add("unreadable", loop, "symbolic links", nil)
		file("empty", nil, "empty")
		file("blank", []byte("\n \n"), "empty")
		add("endless", endless, "larger than 16 MiB", nil)
		file("garbage", []byte("garbage"), "no PEM block")
		file("binary", id.Leaf.Raw, "not PEM")
		file("truncated", half(id.CombinedPEM()), "truncated")
		file("cut at the front", id.CombinedPEM()[20:], "truncated")
		file("with a block that does not end", append(id.CombinedPEM(), "-----BEGIN CERTIFICATE-----\nMII"...), "3 of 4")
		file("damaged", append(damaged, id.KeyPEM()...), "2 of 3")
		if flag != "--key" {
			file("without a certificate", id.KeyPEM(), "no certificate in it; it holds PRIVATE KEY")
			file("with a certificate that does not parse", append(flipped, id.KeyPEM()...), "certificate 1: ")
			file("with a second one that does not parse", append(id.CombinedPEM(), flipped...), "certificate 3: ")
			file("with an OpenSSL trusted certificate", append(pemBlock("TRUSTED CERTIFICATE", id.Leaf.Raw), id.KeyPEM()...), "TRUSTED CERTIFICATE")
		}
		if flag == "--key" || flag == "--keystore" {
			file("without a key", id.CertPEM(), "no private key in it; it holds CERTIFICATE")
			file("with two keys", append(id.CombinedPEM(), other.KeyPEM()...), "2 private keys")
			file("with an encrypted PKCS#8 key", append(id.CertPEM(), encrypted...), "encrypted")
			want := "the private key is encrypted; give its password by --storepass"
			if flag == "--keystore" {
				want = "wrong password, or the file is damaged"
			}
			file("with a key encrypted as of old", append(id.CertPEM(), legacy...), want)
			file("with a key that does not parse", append(id.CertPEM(), pemBlock("PRIVATE KEY", []byte("garbage"))...), "not a private key")
			file("with an OpenSSH key", append(id.CertPEM(), pemBlock("OPENSSH PRIVATE KEY", []byte("garbage"))...), "OPENSSH PRIVATE KEY")
			file("with a key that cannot sign", append(id.CertPEM(), exchange...), "is X25519, which TLS here cannot use")
			file("with the key of another", append(id.CertPEM(), other.KeyPEM()...), "fits no certificate")
		}
	}
	container := func(name, file string, data []byte, password, want string) {
		path := write(t, file, data)
		tests = append(tests, test{
			name: name, flag: "--keystore", path: path, want: want,
			opts: certloader.FileOptions{Keystore: path, Password: password},
		})
	}
	mismatched, err := pkcs12.Modern.Encode(other.Key, id.Leaf, id.Chain, "right")
	if err != nil {
		t.Fatal(err)
	}
	trustStore, err := pkcs12.Modern.EncodeTrustStore(id.Chain, "right")
	if err != nil {
		t.Fatal(err)
	}
	container("PKCS#12 under another password", "s.p12", bag, "wrong-secret", "wrong password; give the right one by --storepass")
	container("PKCS#12 without its password", "s.p12", bag, "", "needs a password")
	container("PKCS#12 under a password that none can have", "s.p12", bag, "\U0001F511", "PKCS#12")
	container("PKCS#12 empty", "s.p12", nil, "right", "empty")
	container("PKCS#12 truncated", "s.p12", half(bag), "right", "not a PKCS#12 keystore, or a damaged one")
	container("PKCS#12 truncated, known by content", "s", half(bag), "right", "not a PKCS#12 keystore, or a damaged one")
	container("PKCS#12 followed by garbage", "s.p12", append(slices.Clone(bag), "garbage"...), "right", "damaged")
	container("PKCS#12 that is garbage", "s.p12", []byte("garbage"), "right", "not a PKCS#12 keystore")
	container("PKCS#12 that is truncated PEM", "s.p12", half(id.CombinedPEM()), "right", "PEM blocks can be read")
	container("PEM that is PKCS#12 under another password", "s.pem", bag, "wrong-secret", "wrong password; give the right one by --storepass")
	container("JCEKS under another name", "s.p12", []byte("\xce\xce\xce\xce\x00\x00\x00\x02"), "right", "truncated Java keystore")
	container("PKCS#12 with the key of another", "s.p12", mismatched, "right", "fits no certificate")
	container("PKCS#12 without a key", "s.p12", trustStore, "right", "no private key in it")
	container("keystore of no known format", "s.keystore", []byte("garbage"), "right", "neither PEM, PKCS#12, JKS nor JCEKS")

	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, err := certloader.Files(test.opts).Load(t.Context())
			if err == nil {
				t.Fatalf("loaded %+v", m)
			}
			text := err.Error()
			if !strings.HasPrefix(text, test.flag+" "+test.path+": ") {
				t.Errorf("error %q does not begin with %s and the file", text, test.flag)
			}
			if !strings.Contains(text, test.want) {
				t.Errorf("error %q does not tell of %q", text, test.want)
			}
			if strings.Count(text, test.path) != 1 {
				t.Errorf("error %q names the file more than once", text)
			}
			if strings.Contains(text, "wrong-secret") || strings.Contains(text, "\n") {
				t.Errorf("error %q has what it should not", text)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %q is not %v", text, test.is)
			}
		})
	}
}

func TestAMismatchedPairNamesBothFiles(t *testing.T) {
	t.Parallel()
	ca, id := subIdentity(t, devpki.ECDSAP256)
	other := issue(t, ca, devpki.Request{CommonName: "other", Key: devpki.RSA2048})
	opts := certloader.FileOptions{Cert: write(t, "c.pem", id.CertPEM()), Key: write(t, "k.pem", other.KeyPEM())}
	_, err := certloader.Files(opts).Load(t.Context())
	if want := "--key " + opts.Key + ": the private key fits no certificate in --cert " + opts.Cert; err == nil || err.Error() != want {
		t.Errorf("error = %v\nwant    %s", err, want)
	}
}

func TestFileOptionsThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]certloader.FileOptions{
		"--cert":     {Cert: "c.pem"},
		"--key":      {Key: "k.pem"},
		"--keystore": {Cert: "c.pem", Key: "k.pem", Keystore: "s.pem"},
	} {
		if _, err := certloader.Files(opts).Load(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestFilesHeedTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, provider := range map[string]certloader.Provider{
		"Files":  certloader.Files(certloader.FileOptions{}),
		"Bundle": certloader.Bundle("--cacert", write(t, "ca.pem", newCA(t, devpki.Options{}).PEM())),
	} {
		if _, err := provider.Load(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error = %v", name, err)
		}
		if provider.Changed() != nil {
			t.Errorf("%s: knows by itself when files change", name)
		}
	}
}

func TestReloadReadsTheFilesAnewWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	ca, id := subIdentity(t, devpki.ECDSAP256)
	opts := certloader.FileOptions{
		Cert:     write(t, "c.pem", id.CertPEM()),
		Key:      write(t, "k.pem", id.KeyPEM()),
		CABundle: write(t, "ca.pem", ca.PEM()),
	}
	source, err := certloader.New(t.Context(), certloader.Files(opts))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	rewrite := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serial := func() string { return source.Certificates()[0].Serial }
	old := serial()

	renewed := issue(t, ca, devpki.Request{CommonName: "server"})
	rewrite(opts.Cert, renewed.CertPEM())
	if err := source.Reload(t.Context()); err == nil || serial() != old {
		t.Errorf("with the new certificate and the old key: %v", err)
	}
	rewrite(opts.Key, renewed.KeyPEM())
	rewrite(opts.CABundle, []byte("garbage"))
	if err := source.Reload(t.Context()); err == nil || serial() != old {
		t.Errorf("with garbage for a CA bundle: %v", err)
	}
	rewrite(opts.CABundle, ca.PEM())
	if err := source.Reload(t.Context()); err != nil || serial() == old {
		t.Errorf("with all in order: %v", err)
	}
}
