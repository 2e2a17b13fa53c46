package tests

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/devpki"
)

// storePassword is what every keystore of these tests is under: keytool wants
// six characters.
const storePassword = "open-sesame"

// A keystoreSource is an identity behind an intermediate, in the files that
// keytool and openssl make keystores of.
type keystoreSource struct {
	files

	pki          *pki
	bag          string // PKCS#12
	intermediate string // PEM
}

func newKeystoreSource(t *testing.T, kind devpki.KeyKind) *keystoreSource {
	t.Helper()
	p := newPKI(t)
	sub, err := p.Intermediate(devpki.Options{CommonName: "sub CA"})
	if err != nil {
		t.Fatal(err)
	}
	under := &pki{CA: sub, dir: p.dir, root: p.root}
	s := &keystoreSource{
		files: under.issue(t, "keyed", devpki.Request{CommonName: "keyed", DNSNames: []string{"localhost"}, Key: kind}),
		pki:   p,
	}
	bag, err := s.PKCS12(storePassword)
	if err != nil {
		t.Fatal(err)
	}
	s.bag = s.path("source.p12")
	writeFile(t, s.bag, bag)
	s.intermediate = s.path("intermediate.pem")
	writeFile(t, s.intermediate, certPEM(s.Chain[0]))
	return s
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func (s *keystoreSource) path(name string) string { return filepath.Join(s.pki.dir, name) }

// keytool imports the identity into a new keystore of keytool's.
func (s *keystoreSource) keytool(t *testing.T, name, kind string, flags ...string) string {
	t.Helper()
	path := s.path(name)
	peerOutput(t, "", "keytool", append([]string{
		"-importkeystore", "-noprompt", "-srckeystore", s.bag, "-srcstoretype", "PKCS12", "-srcstorepass", storePassword,
		"-destkeystore", path, "-deststoretype", kind, "-deststorepass", storePassword,
	}, flags...)...)
	return path
}

// openssl runs an openssl command that writes to the named file.
func (s *keystoreSource) openssl(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := s.path(name)
	peerOutput(t, "", "openssl", append(args, "-out", path)...)
	return path
}

// wantServed starts a server with the identity that flags name, and checks that
// a client gets just want's chain from it, shows its own certificate, and gets
// through.
func wantServed(t *testing.T, p *pki, want *devpki.Identity, flags ...string) {
	t.Helper()
	service := serve(t, "tcp", echo)
	listen := reserve(t)
	start(t, append([]string{
		"server", "--listen", listen, "--target", service.address, "--allow-cn", "client",
		"--cacert", p.root, "--status", "http://" + reserve(t),
	}, flags...)...)
	conn := tls.Client(dial(t, "tcp", listen), &tls.Config{
		ServerName:   "localhost",
		RootCAs:      p.Pool(),
		Certificates: []tls.Certificate{p.client(t).TLSCertificate()},
	})
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q back, %v", got, err)
	}
	chain := append([]*x509.Certificate{want.Leaf}, want.Chain...)
	shown := conn.ConnectionState().PeerCertificates
	if !slices.EqualFunc(shown, chain, func(a, b *x509.Certificate) bool { return a.Equal(b) }) {
		t.Errorf("the server shows %d certificates, want the leaf and its issuer", len(shown))
	}
}

func TestKeytoolsKeystoresAreServed(t *testing.T) {
	t.Parallel()
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.RSA2048} {
		s := newKeystoreSource(t, kind)
		for _, store := range []struct{ name, kind string }{
			{"store.jks", "JKS"},
			{"store.jceks", "JCEKS"},
			{"store.p12", "PKCS12"},
			{"modern.jks", "PKCS12"}, // what keytool writes when it is not told
			{"jks.keystore", "JKS"},
			{"jceks", "JCEKS"},
			{"pkcs12.keystore", "PKCS12"},
		} {
			t.Run(store.name+" of "+kind.String(), func(t *testing.T) {
				t.Parallel()
				path := s.keytool(t, store.name, store.kind)
				wantServed(t, s.pki, s.Identity, "--keystore", path, "--storepass", storePassword)
			})
		}
	}
}

// TestKeytoolsOwnKeysAreServed has keytool make the key and the certificate.
func TestKeytoolsOwnKeysAreServed(t *testing.T) {
	t.Parallel()
	for kind, algorithm := range map[string]string{"JKS": "EC", "JCEKS": "RSA", "PKCS12": "Ed25519"} {
		t.Run(algorithm+" in "+kind, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			store, cert := filepath.Join(p.dir, "store"), filepath.Join(p.dir, "cert.der")
			password := []string{"-keystore", store, "-storetype", kind, "-storepass", storePassword}
			keytool := func(args ...string) { peerOutput(t, "", "keytool", append(args, password...)...) }
			keytool("-genkeypair", "-alias", "own", "-keyalg", algorithm, "-keypass", storePassword, "-dname", "CN=own", "-ext", "san=dns:localhost")
			keytool("-exportcert", "-alias", "own", "-file", cert)
			// A trusted certificate beside it is not part of the chain.
			keytool("-importcert", "-noprompt", "-alias", "trusted", "-file", p.root)

			der, err := os.ReadFile(cert)
			if err != nil {
				t.Fatal(err)
			}
			own, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			trusted := x509.NewCertPool()
			trusted.AddCert(own)
			listen := reserve(t)
			start(t, "server", "--listen", listen, "--target", serve(t, "tcp", echo).address, "--disable-authentication",
				"--keystore", store, "--storepass", storePassword, "--status", "http://"+reserve(t))
			conn := tls.Client(dial(t, "tcp", listen), &tls.Config{ServerName: "localhost", RootCAs: trusted})
			if err := conn.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if shown := conn.ConnectionState().PeerCertificates; len(shown) != 1 || !shown[0].Equal(own) {
				t.Errorf("the server shows %d certificates, want its own alone", len(shown))
			}
		})
	}
}

func TestOpenSSLsKeystoresAreServed(t *testing.T) {
	t.Parallel()
	s := newKeystoreSource(t, devpki.RSA2048)
	for name, flags := range map[string][]string{
		"modern":           nil,
		"legacy":           {"-legacy"}, // RC2 and triple DES
		"triple-des":       {"-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"},
		"plain-certs":      {"-certpbe", "NONE"},
		"aes-128-sha-512":  {"-certpbe", "AES-128-CBC", "-keypbe", "AES-128-CBC", "-macalg", "sha512"},
		"100000-rounds":    {"-iter", "100000"},
		"root-and-the-lot": {"-certfile", s.pki.root},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := s.openssl(t, name+".p12", append([]string{
				"pkcs12", "-export", "-in", s.combined, "-passin", "pass:", "-passout", "pass:" + storePassword,
			}, flags...)...)
			want := *s.Identity
			if name == "root-and-the-lot" {
				want.Chain = append(slices.Clone(want.Chain), s.pki.Root())
			}
			wantServed(t, s.pki, &want, "--keystore", path, "--storepass", storePassword)
		})
	}
}

func TestOpenSSLsEncryptedKeysAreServed(t *testing.T) {
	t.Parallel()
	pass := []string{"-passout", "pass:" + storePassword}
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.RSA2048, devpki.Ed25519} {
		s := newKeystoreSource(t, kind)
		topk8 := []string{"pkcs8", "-topk8", "-in", s.key}
		commands := map[string][]string{
			"default.pem":   topk8,
			"aes-128.pem":   append(slices.Clone(topk8), "-v2", "aes-128-cbc"),
			"aes-192.pem":   append(slices.Clone(topk8), "-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA384"),
			"sha-512.pem":   append(slices.Clone(topk8), "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"),
			"openssl-1.pem": append(slices.Clone(topk8), "-v2", "des3", "-v2prf", "hmacWithSHA1"),
			"scrypt.pem":    append(slices.Clone(topk8), "-scrypt"),
			"default.der":   append(slices.Clone(topk8), "-outform", "DER"),
			"scrypt.key":    append(slices.Clone(topk8), "-scrypt", "-outform", "DER"),
		}
		if kind != devpki.Ed25519 { // which has no encoding of old
			commands["traditional.pem"] = []string{"pkey", "-in", s.key, "-traditional", "-aes-256-cbc"}
			commands["traditional-des3.pem"] = []string{"pkey", "-in", s.key, "-traditional", "-des3"}
		}
		for name, command := range commands {
			t.Run(name+" of "+kind.String(), func(t *testing.T) {
				t.Parallel()
				path := s.openssl(t, name, append(command, pass...)...)
				wantServed(t, s.pki, s.Identity, "--cert", s.cert, "--key", path, "--storepass", storePassword)
				code, _, stderr := run(t, "server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all",
					"--cacert", s.pki.root, "--cert", s.cert, "--key", path)
				if want := "sallyport: --key " + path + ": the private key is encrypted; give its password"; code != 1 || !strings.HasPrefix(stderr, want) {
					t.Errorf("without the password: exit code %d, %s", code, stderr)
				}
				code, _, stderr = run(t, "server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all",
					"--cacert", s.pki.root, "--cert", s.cert, "--key", path, "--storepass", "wr0ng-secret")
				if want := "sallyport: --key " + path + ": wrong password"; code != 1 || !strings.HasPrefix(stderr, want) || strings.Contains(stderr, "wr0ng-secret") {
					t.Errorf("under a wrong password: exit code %d, %s", code, stderr)
				}
			})
		}
	}
}

// TestDERAndPKCS7 serves identities, and trusts CAs, that come in other coats
// than PEM.
func TestDERAndPKCS7(t *testing.T) {
	t.Parallel()
	s := newKeystoreSource(t, devpki.ECDSAP256)
	leaf := s.path("leaf.pem")
	writeFile(t, leaf, certPEM(s.Leaf))
	// The root first: a bag has no order.
	bag := []string{"crl2pkcs7", "-nocrl", "-certfile", s.intermediate, "-certfile", leaf}
	chain := s.path("chain.der")
	writeFile(t, chain, slices.Concat(s.Leaf.Raw, s.Chain[0].Raw))
	certs := map[string]string{
		"certificates in DER":          chain,
		"PKCS#7 in PEM":                s.openssl(t, "bag.pem", bag...),
		"PKCS#7 in DER":                s.openssl(t, "bag.p7b", append(slices.Clone(bag), "-outform", "DER")...),
		"PKCS#7 in DER, unnamed":       s.openssl(t, "bag", append(slices.Clone(bag), "-outform", "DER")...),
		"PKCS#7 in PEM, as .p7b":       s.openssl(t, "pem.p7b", bag...),
		"certificates in DER, as .cer": s.path("chain.cer"),
	}
	writeFile(t, s.path("chain.cer"), slices.Concat(s.Leaf.Raw, s.Chain[0].Raw))
	keys := map[string]string{
		"PKCS#8": s.openssl(t, "pkcs8.der", "pkcs8", "-topk8", "-nocrypt", "-in", s.key, "-outform", "DER"),
		"SEC 1":  s.openssl(t, "sec1.key", "pkey", "-in", s.key, "-traditional", "-outform", "DER"),
	}
	for name, cert := range certs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantServed(t, s.pki, s.Identity, "--cert", cert, "--key", s.key)
		})
	}
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantServed(t, s.pki, s.Identity, "--cert", s.cert, "--key", key)
		})
	}
	roots := map[string]string{
		"trust in DER":    s.openssl(t, "root.der", "x509", "-in", s.pki.root, "-outform", "DER"),
		"trust in PKCS#7": s.openssl(t, "root.p7b", "crl2pkcs7", "-nocrl", "-certfile", s.pki.root, "-outform", "DER"),
	}
	for name, root := range roots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantServed(t, &pki{CA: s.pki.CA, dir: t.TempDir(), root: root}, s.Identity, s.flags()...)
		})
	}
}

// TestUnusableKeystoresEndTheStart gives a server what keytool and openssl made,
// damaged or not what is wanted: it ends with 1 and one line that says so.
func TestUnusableKeystoresEndTheStart(t *testing.T) {
	t.Parallel()
	s := newKeystoreSource(t, devpki.ECDSAP256)
	stores := map[string]string{
		"JKS":    s.keytool(t, "s.jks", "JKS"),
		"JCEKS":  s.keytool(t, "s.jceks", "JCEKS"),
		"PKCS12": s.keytool(t, "s.p12", "PKCS12"),
	}
	refused := func(t *testing.T, path, password string, want ...string) {
		t.Helper()
		code, stdout, stderr := run(t, "server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all",
			"--cacert", s.pki.root, "--keystore", path, "--storepass", password)
		if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "sallyport: --keystore "+path+": ") || !containsAll(stderr, want) {
			t.Errorf("exit code %d, standard output %q, standard error %q, want 1 and one line with %q", code, stdout, stderr, want)
		}
		if strings.Contains(stderr, password) {
			t.Errorf("standard error shows the password: %s", stderr)
		}
	}
	for kind, path := range stores {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file := func(t *testing.T, data []byte) string {
			path := filepath.Join(t.TempDir(), "damaged"+filepath.Ext(path))
			writeFile(t, path, data)
			return path
		}
		t.Run(kind+" under another password", func(t *testing.T) {
			t.Parallel()
			refused(t, path, "wr0ng-secret", "wrong password", "--storepass")
		})
		t.Run(kind+" truncated", func(t *testing.T) {
			t.Parallel()
			for _, length := range []int{1, 8, 40, len(good) / 2, len(good) - 1} {
				refused(t, file(t, good[:length]), storePassword)
			}
		})
		// Every bit is flipped in a test of the package; these go all the way.
		t.Run(kind+" with a bit flipped", func(t *testing.T) {
			t.Parallel()
			for i := range 12 {
				// Within what is under a hash: the ends of PKCS#12 are not.
				at := 100 + i*(len(good)-200)/12
				flipped := bytes.Clone(good)
				flipped[at] ^= 1 << (i % 8)
				refused(t, file(t, flipped), storePassword)
			}
		})
		t.Run(kind+" with two keys", func(t *testing.T) {
			t.Parallel()
			path := file(t, good)
			peerOutput(t, "", "keytool", "-genkeypair", "-alias", "second", "-keyalg", "EC", "-dname", "CN=second",
				"-keystore", path, "-storetype", kind, "-storepass", storePassword, "-keypass", storePassword)
			refused(t, path, storePassword, "2 private keys")
		})
		t.Run(kind+" without a key", func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "trust"+filepath.Ext(path))
			peerOutput(t, "", "keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", s.pki.root,
				"-keystore", path, "-storetype", kind, "-storepass", storePassword)
			refused(t, path, storePassword, "private key")
		})
		if kind == "PKCS12" {
			continue // has one password for all
		}
		t.Run(kind+" with another password for its key", func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store"+filepath.Ext(path))
			peerOutput(t, "", "keytool", "-genkeypair", "-alias", "own", "-keyalg", "EC", "-dname", "CN=own",
				"-keystore", path, "-storetype", kind, "-storepass", storePassword, "-keypass", "other-secret")
			refused(t, path, storePassword, "another password than the keystore", "keytool -keypasswd")
		})
	}
	t.Run("JCEKS with a secret key", func(t *testing.T) {
		t.Parallel()
		path := s.keytool(t, "secret.jceks", "JCEKS")
		peerOutput(t, "", "keytool", "-genseckey", "-alias", "aes", "-keyalg", "AES", "-keysize", "128",
			"-keystore", path, "-storetype", "JCEKS", "-storepass", storePassword, "-keypass", storePassword)
		refused(t, path, storePassword, "secret key", "keytool -delete")
	})
	t.Run("PKCS#12 that would take for ever", func(t *testing.T) {
		t.Parallel()
		const iterations = 6_000_000
		path := s.openssl(t, "endless.p12", "pkcs12", "-export", "-in", s.combined, "-passout", "pass:"+storePassword,
			"-nomaciter", "-iter", strconv.Itoa(iterations))
		refused(t, path, storePassword, "6000000 iterations")
	})
	t.Run("a keystore for a certificate", func(t *testing.T) {
		t.Parallel()
		code, _, stderr := run(t, "server", "--listen", reserve(t), "--target", "127.0.0.1:1", "--allow-all",
			"--cacert", stores["JKS"], "--cert", s.cert, "--key", s.key)
		if code != 1 || !strings.Contains(stderr, "--cacert "+stores["JKS"]+": a keystore") {
			t.Errorf("exit code %d, %s", code, stderr)
		}
	})
}
