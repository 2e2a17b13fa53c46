//go:build cgo

package certloader_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"sallyport/certloader"
	"sallyport/devpki"
)

// softHSM is a directory with SoftHSM tokens, and what else a test needs to use
// them. The tokens are made by other processes: this one sees those that there
// are when it first uses the module.
type softHSM struct {
	dir    string
	module string
	keys   int // imported so far
}

// userPIN is that of every token's user.
const userPIN = "9753124680"

// newSoftHSM makes the directory and a token with each of the labels. Tests that
// use it cannot be parallel: SoftHSM finds the directory by the environment, and
// a process has it but once.
func newSoftHSM(t *testing.T, labels ...string) *softHSM {
	t.Helper()
	h := &softHSM{dir: t.TempDir(), module: softHSMModule(t)}
	tokens := filepath.Join(h.dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	h.configure(t, tokens)
	t.Setenv("SOFTHSM2_CONF", h.config())
	for _, label := range labels {
		h.tool(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "1234567890", "--pin", userPIN)
	}
	t.Cleanup(func() {
		err := h.handle(t).Finalize()
		if err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)) {
			t.Error(err)
		}
	})
	return h
}

func (h *softHSM) config() string { return filepath.Join(h.dir, "softhsm2.conf") }

// configure has SoftHSM look for tokens in a directory.
func (h *softHSM) configure(t *testing.T, tokens string) {
	t.Helper()
	writeTo(t, h.config(), []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"))
}

// handle is another way to the module than the Provider's.
func (h *softHSM) handle(t *testing.T) *pkcs11.Ctx {
	t.Helper()
	module := pkcs11.New(h.module)
	if module == nil {
		t.Fatalf("%s cannot be loaded", h.module)
	}
	return module
}

// tool runs a program to its end, on the tokens.
func (h *softHSM) tool(t *testing.T, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		skipPeer(t, program)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// importKey puts a private key and its public half into a token.
func (h *softHSM) importKey(t *testing.T, label string, key crypto.Signer) {
	t.Helper()
	h.keys++
	path := filepath.Join(h.dir, "key.pem")
	writeTo(t, path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: marshalKey(t, key)}))
	h.tool(t, "softhsm2-util", "--import", path, "--token", label, "--pin", userPIN,
		"--label", fmt.Sprintf("key %d", h.keys), "--id", fmt.Sprintf("%02x", h.keys))
}

// importPrivate puts a private key alone into a token.
func (h *softHSM) importPrivate(t *testing.T, label string, key crypto.Signer, flags ...string) {
	t.Helper()
	h.keys++
	path := filepath.Join(h.dir, "key.der")
	writeTo(t, path, marshalKey(t, key))
	h.tool(t, "pkcs11-tool", append([]string{
		"--module", h.module, "--token-label", label, "--login", "--pin", userPIN,
		"--write-object", path, "--type", "privkey", "--usage-sign", "--id", fmt.Sprintf("%02x", h.keys),
	}, flags...)...)
}

// options are those of a Provider on a token, with a chain and trust in files.
func (h *softHSM) options(t *testing.T, label string, chain, trust []byte) certloader.PKCS11Options {
	t.Helper()
	o := certloader.PKCS11Options{
		Module:     h.module,
		TokenLabel: label,
		PIN:        userPIN,
		Cert:       filepath.Join(h.dir, "cert.pem"),
		CABundle:   filepath.Join(h.dir, "ca.pem"),
	}
	writeTo(t, o.Cert, chain)
	writeTo(t, o.CABundle, trust)
	return o
}

// session logs a session in, for the test to do to the token what it likes.
func (h *softHSM) session(t *testing.T) (*pkcs11.Ctx, uint, pkcs11.SessionHandle) {
	t.Helper()
	module := h.handle(t)
	slots, err := module.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	session, err := module.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	return module, slots[0], session
}

func softHSMModule(t *testing.T) string {
	t.Helper()
	for _, path := range []string{
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so",
		"/opt/homebrew/lib/softhsm/libsofthsm2.so",
	} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	skipPeer(t, "SoftHSM")
	return ""
}

// skipPeer skips a test whose peer is missing, or fails it with CI=true in the
// environment.
func skipPeer(t *testing.T, name string) {
	t.Helper()
	reason := name + " is missing: tests/peers.sh installs it"
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (with CI=true nothing is skipped)", reason)
	}
	t.Skip(reason)
}

func marshalKey(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certify has ca sign a certificate for a key of the test's.
func certify(t *testing.T, ca *devpki.CA, key crypto.Signer, name string) *x509.Certificate {
	t.Helper()
	model := issue(t, ca, devpki.Request{CommonName: name, DNSNames: []string{"localhost"}}).Leaf
	template := *model
	template.SerialNumber = new(big.Int).Add(model.SerialNumber, big.NewInt(1))
	template.SubjectKeyId = nil
	template.SignatureAlgorithm = x509.UnknownSignatureAlgorithm
	der, err := x509.CreateCertificate(rand.Reader, &template, ca.Certificate(), key.Public(), ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func encodePEM(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return out.Bytes()
}

func newECDSA(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newProvider makes a Provider that is closed when the test ends.
func newProvider(t *testing.T, opts certloader.PKCS11Options) certloader.Provider {
	t.Helper()
	provider, err := certloader.PKCS11(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := provider.Close(); err != nil {
			t.Error(err)
		}
	})
	return provider
}

// loadKey loads, and returns the private key.
func loadKey(t *testing.T, provider certloader.Provider) crypto.Signer {
	t.Helper()
	loaded, err := provider.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Identity.PrivateKey.(crypto.Signer)
}

// checkSignature has key sign, and verifies that.
func checkSignature(key crypto.Signer, opts crypto.SignerOpts) error {
	hash := opts.HashFunc().New()
	fmt.Fprintf(hash, "%v", time.Now())
	digest := hash.Sum(nil)
	signature, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		return err
	}
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, digest, signature) {
			return errors.New("ECDSA verification error")
		}
		return nil
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(public, pss.Hash, digest, signature, pss)
		}
		return rsa.VerifyPKCS1v15(public, opts.HashFunc(), digest, signature)
	}
	return fmt.Errorf("a %T", key.Public())
}
