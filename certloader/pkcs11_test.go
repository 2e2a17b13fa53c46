//go:build cgo

package certloader_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/pkcs11"

	"sallyport/certloader"
	"sallyport/devpki"
)

func TestATokenMakesEverySignatureThatTLSNeeds(t *testing.T) {
	h := newSoftHSM(t, "signing")
	ca := newCA(t, devpki.Options{})
	for name, key := range map[string]crypto.Signer{
		"RSA":   newRSA(t),
		"P-256": newECDSA(t, elliptic.P256()),
		"P-384": newECDSA(t, elliptic.P384()),
		"P-521": newECDSA(t, elliptic.P521()),
	} {
		h.importKey(t, "signing", key)
		t.Run(name, func(t *testing.T) {
			provider := newProvider(t, h.options(t, "signing", encodePEM(certify(t, ca, key, name)), ca.PEM()))
			inToken := loadKey(t, provider)
			if _, same := inToken.(*rsa.PrivateKey); same {
				t.Fatal("the key is not in a token")
			}
			for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				opts := []crypto.SignerOpts{hash}
				if name == "RSA" {
					for _, salt := range []int{rsa.PSSSaltLengthEqualsHash, rsa.PSSSaltLengthAuto, 20} {
						opts = append(opts, &rsa.PSSOptions{Hash: hash, SaltLength: salt})
					}
				}
				for _, opts := range opts {
					if err := checkSignature(inToken, opts); err != nil {
						t.Errorf("%s, %T: %v", hash, opts, err)
					}
				}
			}
			if _, err := inToken.Sign(rand.Reader, make([]byte, 20), crypto.SHA256); err == nil {
				t.Error("20 bytes were signed as SHA-256")
			}
		})
		// SoftHSM sees keys that other processes import when it starts anew.
		if err := h.handle(t).Finalize(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATokenServesAndIsAClient(t *testing.T) {
	h := newSoftHSM(t, "tls")
	ca := newCA(t, devpki.Options{})
	sub, err := ca.Intermediate(devpki.Options{CommonName: "sub"})
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, ecKey := newRSA(t), newECDSA(t, elliptic.P256())
	h.importKey(t, "tls", rsaKey)
	h.importKey(t, "tls", ecKey)
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "ECDSA": ecKey} {
		t.Run(name, func(t *testing.T) {
			chain := encodePEM(certify(t, sub, key, "both"), sub.Certificate())
			source, err := certloader.New(t.Context(), newProvider(t, h.options(t, "tls", chain, ca.PEM())))
			if err != nil {
				t.Fatal(err)
			}
			for version, number := range versions {
				server := source.ServerConfig(certloader.ServerOptions{Authorize: allow, MaxVersion: number})
				client := source.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
				result := shake(t, client, server)
				if err := result.err(); err != nil {
					t.Errorf("%s: %v", version, err)
					continue
				}
				if result.client.Version != number || len(result.server.PeerCertificates) != 2 {
					t.Errorf("%s: version %x, %d certificates from the client", version, result.client.Version, len(result.server.PeerCertificates))
				}
			}
		})
	}
}

func TestAReloadTakesANewChainForAKeyOfTheTokenAlone(t *testing.T) {
	h := newSoftHSM(t, "reload")
	ca := newCA(t, devpki.Options{})
	first, second := newECDSA(t, elliptic.P256()), newRSA(t)
	h.importKey(t, "reload", first)
	h.importKey(t, "reload", second)
	opts := h.options(t, "reload", encodePEM(certify(t, ca, first, "first")), ca.PEM())
	source, err := certloader.New(t.Context(), newProvider(t, opts))
	if err != nil {
		t.Fatal(err)
	}
	server := source.ServerConfig(certloader.ServerOptions{})
	alice, _ := newSource(t, material(nil, ca))
	client := alice.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
	serves := func(name string) {
		t.Helper()
		result := shake(t, client, server)
		if err := result.err(); err != nil {
			t.Fatal(err)
		}
		if got := result.client.PeerCertificates[0].Subject.CommonName; got != name {
			t.Errorf("served with the certificate of %q, want %q", got, name)
		}
	}
	serves("first")

	for _, step := range []struct {
		name  string
		chain []byte
		wrong string // in the error; empty: it is taken
		serve string
	}{
		{name: "renewed", chain: encodePEM(certify(t, ca, first, "renewed")), serve: "renewed"},
		{name: "of a key elsewhere", chain: issue(t, ca, devpki.Request{CommonName: "mallory"}).CertPEM(), wrong: "no private key that fits", serve: "renewed"},
		{name: "of an RSA key elsewhere", chain: issue(t, ca, devpki.Request{CommonName: "mallory", Key: devpki.RSA2048}).CertPEM(), wrong: "no private key that fits", serve: "renewed"},
		{name: "of an Ed25519 key", chain: issue(t, ca, devpki.Request{CommonName: "mallory", Key: devpki.Ed25519}).CertPEM(), wrong: "RSA and ECDSA can", serve: "renewed"},
		{name: "of a key on P-224", chain: encodePEM(certify(t, ca, newECDSA(t, elliptic.P224()), "mallory")), wrong: "the curve P-224 cannot be used in TLS", serve: "renewed"},
		{name: "garbage", chain: []byte("garbage"), wrong: "--cert " + opts.Cert, serve: "renewed"},
		{name: "of another key in the token", chain: encodePEM(certify(t, ca, second, "second")), serve: "second"},
		{name: "of the first again", chain: encodePEM(certify(t, ca, first, "again")), serve: "again"},
	} {
		t.Run(step.name, func(t *testing.T) {
			writeTo(t, opts.Cert, step.chain)
			err := source.Reload(t.Context())
			if (err == nil) != (step.wrong == "") || err != nil && !strings.Contains(err.Error(), step.wrong) {
				t.Errorf("Reload: %v, want %q", err, step.wrong)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "--cert "+opts.Cert+": ") {
				t.Errorf("error %q does not begin with the file", err)
			}
			serves(step.serve)
		})
	}
}

func TestTheLeafIsServedThoughTheTokenHasTheKeysOfItsIssuersToo(t *testing.T) {
	h := newSoftHSM(t, "order")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "order", ca.Key())
	h.importKey(t, "order", key)
	leaf := certify(t, ca, key, "leaf")
	opts := h.options(t, "order", encodePEM(ca.Certificate(), leaf), ca.PEM())
	provider := newProvider(t, opts)
	loaded, err := provider.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !loaded.Identity.Leaf.Equal(leaf) || !bytes.Equal(loaded.Identity.Certificate[0], leaf.Raw) {
		t.Errorf("%q was loaded as the leaf", loaded.Identity.Leaf.Subject)
	}
	// A leaf whose key is elsewhere is not made up for by its issuer's.
	writeTo(t, opts.Cert, encodePEM(issue(t, ca, devpki.Request{CommonName: "mallory"}).Leaf, ca.Certificate()))
	if _, err := provider.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "CN=mallory") {
		t.Errorf("Load: %v", err)
	}
}

// Some tokens hold private keys alone, which on a curve do not tell their public
// half.
func TestAKeyWithoutItsPublicHalfIsFoundByWhatItSigns(t *testing.T) {
	h := newSoftHSM(t, "halves")
	ca := newCA(t, devpki.Options{})
	rsaKey := newRSA(t)
	keys := []crypto.Signer{newRSA(t), rsaKey}
	for range 3 {
		keys = append(keys, newECDSA(t, elliptic.P256()))
	}
	for _, key := range keys {
		h.importPrivate(t, "halves", key)
	}
	for i, key := range keys {
		provider := newProvider(t, h.options(t, "halves", encodePEM(certify(t, ca, key, "leaf")), ca.PEM()))
		if err := checkSignature(loadKey(t, provider), crypto.SHA256); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
	provider := newProvider(t, h.options(t, "halves", issue(t, ca, devpki.Request{CommonName: "other"}).CertPEM(), ca.PEM()))
	if _, err := provider.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "no private key that fits") {
		t.Errorf("Load of a certificate whose key is elsewhere: %v", err)
	}
}

func TestAKeyThatWantsThePINEachTimeSigns(t *testing.T) {
	h := newSoftHSM(t, "always")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importPrivate(t, "always", key, "--always-auth")
	inToken := loadKey(t, newProvider(t, h.options(t, "always", encodePEM(certify(t, ca, key, "leaf")), ca.PEM())))

	module, _, session := h.session(t)
	if err := module.FindObjectsInit(session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_AUTHENTICATE, true),
	}); err != nil {
		t.Fatal(err)
	}
	if found, _, err := module.FindObjects(session, 1); err != nil || len(found) != 1 {
		t.Fatalf("%d keys that want the PIN each time, %v", len(found), err)
	}
	for range 3 {
		if err := checkSignature(inToken, crypto.SHA256); err != nil {
			t.Error(err)
		}
	}
}

// privateKeys returns the private keys in the token, and a session that may do
// things to them.
func (h *softHSM) privateKeys(t *testing.T) (*pkcs11.Ctx, pkcs11.SessionHandle, []pkcs11.ObjectHandle) {
	t.Helper()
	module, _, session := h.session(t)
	if err := module.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}); err != nil {
		t.Fatal(err)
	}
	found, _, err := module.FindObjects(session, 10)
	if err := errors.Join(err, module.FindObjectsFinal(session)); err != nil {
		t.Fatal(err)
	}
	return module, session, found
}

// A key may be there more than once, and not be for signing everywhere.
func TestAKeyThatMayNotSignIsPassedOver(t *testing.T) {
	h := newSoftHSM(t, "twice")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importPrivate(t, "twice", key)
	h.importPrivate(t, "twice", key)
	provider := newProvider(t, h.options(t, "twice", encodePEM(certify(t, ca, key, "leaf")), ca.PEM()))
	loadKey(t, provider)

	module, session, found := h.privateKeys(t)
	if len(found) != 2 {
		t.Fatalf("%d keys", len(found))
	}
	for i, handle := range found {
		if err := module.SetAttributeValue(session, handle, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_SIGN, false)}); err != nil {
			t.Fatal(err)
		}
		_, err := provider.Load(t.Context())
		if i == 0 && err != nil {
			t.Errorf("with one that may sign: %v", err)
		}
		if i == 1 && (err == nil || !strings.Contains(err.Error(), `token "twice": signing: `)) {
			t.Errorf("with none that may sign: %v", err)
		}
	}
}

func TestAKeyThatIsRemovedSignsNoMore(t *testing.T) {
	h := newSoftHSM(t, "removed")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "removed", key)
	inToken := loadKey(t, newProvider(t, h.options(t, "removed", encodePEM(certify(t, ca, key, "leaf")), ca.PEM())))
	module, session, found := h.privateKeys(t)
	for _, handle := range found {
		if err := module.DestroyObject(session, handle); err != nil {
			t.Fatal(err)
		}
	}
	want := "--pkcs11-module " + h.module + `: token "removed": signing: no private key fits`
	if err := checkSignature(inToken, crypto.SHA256); err == nil || err.Error() != want {
		t.Errorf("error = %v\nwant    %s", err, want)
	}
}

// losses is what may become of a token between two signatures.
var losses = map[string]func(*testing.T, *softHSM){
	"every session closed": func(t *testing.T, h *softHSM) {
		module, slot, _ := h.session(t)
		if err := module.CloseAllSessions(slot); err != nil {
			t.Fatal(err)
		}
	},
	"logged out": func(t *testing.T, h *softHSM) {
		module, _, session := h.session(t)
		if err := module.Logout(session); err != nil {
			t.Fatal(err)
		}
	},
	"module finalized": func(t *testing.T, h *softHSM) {
		if err := h.handle(t).Finalize(); err != nil {
			t.Fatal(err)
		}
	},
	"module begun anew by somebody else": func(t *testing.T, h *softHSM) {
		if err := errors.Join(h.handle(t).Finalize(), h.handle(t).Initialize()); err != nil {
			t.Fatal(err)
		}
	},
	"key copied and removed": func(t *testing.T, h *softHSM) {
		module, session, found := h.privateKeys(t)
		if len(found) != 1 {
			t.Fatalf("%d keys", len(found))
		}
		if _, err := module.CopyObject(session, found[0], []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, "copy")}); err != nil {
			t.Fatal(err)
		}
		if err := module.DestroyObject(session, found[0]); err != nil {
			t.Fatal(err)
		}
	},
}

func TestALostTokenIsLoggedInToAgain(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			h := newSoftHSM(t, "lost")
			ca := newCA(t, devpki.Options{})
			key := newECDSA(t, elliptic.P256())
			h.importKey(t, "lost", key)
			provider := newProvider(t, h.options(t, "lost", encodePEM(certify(t, ca, key, "leaf")), ca.PEM()))
			inToken := loadKey(t, provider)

			lose(t, h)
			if err := checkSignature(inToken, crypto.SHA256); err != nil {
				t.Errorf("signing: %v", err)
			}
			lose(t, h)
			if _, err := provider.Load(t.Context()); err != nil {
				t.Errorf("loading: %v", err)
			}
			if err := checkSignature(inToken, crypto.SHA256); err != nil {
				t.Errorf("signing with the key from before: %v", err)
			}
		})
	}
}

// Everybody finds the token lost at the same time. It is lost while nobody signs:
// SoftHSM crashes when a session is closed that is in use.
func TestManySignersAtOnceFindTheTokenLost(t *testing.T) {
	h := newSoftHSM(t, "busy")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "busy", key)
	provider := newProvider(t, h.options(t, "busy", encodePEM(certify(t, ca, key, "leaf")), ca.PEM()))
	inToken := loadKey(t, provider)
	module, slot, _ := h.session(t)
	for range 10 {
		if err := module.CloseAllSessions(slot); err != nil {
			t.Fatal(err)
		}
		begin := make(chan struct{})
		var signers sync.WaitGroup
		for range 50 {
			signers.Go(func() {
				<-begin
				for range 4 {
					if err := checkSignature(inToken, crypto.SHA256); err != nil {
						t.Error(err)
					}
				}
			})
		}
		close(begin)
		signers.Wait()
	}
}

func TestATokenThatIsGoneFailsUntilItIsBack(t *testing.T) {
	h := newSoftHSM(t, "gone")
	ca := newCA(t, devpki.Options{})
	key := newRSA(t)
	h.importKey(t, "gone", key)
	provider := newProvider(t, h.options(t, "gone", encodePEM(certify(t, ca, key, "leaf")), ca.PEM()))
	inToken := loadKey(t, provider)

	elsewhere := filepath.Join(h.dir, "elsewhere")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	h.configure(t, elsewhere)
	if err := h.handle(t).Finalize(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := checkSignature(inToken, crypto.SHA256); err == nil || !strings.Contains(err.Error(), "--pkcs11-token-label gone: there is no token") {
			t.Errorf("signing: %v", err)
		}
		if _, err := provider.Load(t.Context()); err == nil {
			t.Error("a Load from a token that is gone went well")
		}
	}
	h.configure(t, filepath.Join(h.dir, "tokens"))
	if err := h.handle(t).Finalize(); err != nil {
		t.Fatal(err)
	}
	if err := checkSignature(inToken, crypto.SHA256); err != nil {
		t.Errorf("signing when the token is back: %v", err)
	}
}

func TestTwoProvidersShareAToken(t *testing.T) {
	h := newSoftHSM(t, "shared")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "shared", key)
	opts := h.options(t, "shared", encodePEM(certify(t, ca, key, "leaf")), ca.PEM())
	first, second := newProvider(t, opts), newProvider(t, opts)
	loadKey(t, first)
	inToken := loadKey(t, second)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := checkSignature(inToken, crypto.SHA256); err != nil {
		t.Errorf("the other's key, after Close: %v", err)
	}
}

func TestCloseLogsOutAndKeysStayGood(t *testing.T) {
	h := newSoftHSM(t, "closed")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "closed", key)
	provider := newProvider(t, h.options(t, "closed", encodePEM(certify(t, ca, key, "leaf")), ca.PEM()))
	inToken := loadKey(t, provider)

	state := func() uint {
		module, _, session := h.session(t)
		info, err := module.GetSessionInfo(session)
		if err := errors.Join(err, module.CloseSession(session)); err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	if got := state(); got != pkcs11.CKS_RW_USER_FUNCTIONS {
		t.Fatalf("a session is in state %d before Close", got)
	}
	if err := provider.Close(); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != pkcs11.CKS_RW_PUBLIC_SESSION {
		t.Errorf("a session is in state %d after Close: somebody is still logged in", got)
	}
	if err := checkSignature(inToken, crypto.SHA256); err != nil {
		t.Errorf("signing after Close: %v", err)
	}
}

func TestARefusedPINIsNotTriedAgain(t *testing.T) {
	h := newSoftHSM(t, "locked")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "locked", key)
	opts := h.options(t, "locked", encodePEM(certify(t, ca, key, "leaf")), ca.PEM())
	const wrong = "8642097531"
	opts.PIN = wrong
	provider := newProvider(t, opts)
	_, err := provider.Load(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), `--pkcs11-pin: token "locked" refused it`) || strings.Contains(err.Error(), wrong) {
		t.Fatalf("Load: %v", err)
	}

	// The PIN becomes right: were it tried again, it would be taken.
	module, _, session := h.session(t)
	if err := errors.Join(module.Login(session, pkcs11.CKU_USER, userPIN), module.SetPIN(session, userPIN, wrong), module.Logout(session)); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the next Load: %v", err)
	}
	if _, err := newProvider(t, opts).Load(t.Context()); err != nil {
		t.Errorf("Load of a new Provider: %v", err)
	}
}

func TestWhatIsWrongWithATokenIsTold(t *testing.T) {
	h := newSoftHSM(t, "one", "two")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "one", key)
	missing := filepath.Join(h.dir, "missing.so")
	text := filepath.Join(h.dir, "text.so")
	writeTo(t, text, []byte("no library"))

	for _, test := range []struct {
		name   string
		change func(*certloader.PKCS11Options)
		want   []string
	}{
		{"module missing", func(o *certloader.PKCS11Options) { o.Module = missing }, []string{"--pkcs11-module " + missing + ": no such file"}},
		{"module that is no library", func(o *certloader.PKCS11Options) { o.Module = text }, []string{"--pkcs11-module " + text + ": not a PKCS#11 library"}},
		{"library that is no module", func(o *certloader.PKCS11Options) { o.Module = "libc.so.6" }, []string{"--pkcs11-module libc.so.6: not a PKCS#11 library"}},
		{"token missing", func(o *certloader.PKCS11Options) { o.TokenLabel = "three" }, []string{"--pkcs11-token-label three: no such token", `"one"`, `"two"`}},
		{"token not named", func(o *certloader.PKCS11Options) { o.TokenLabel = "" }, []string{"--pkcs11-token-label: name one of", `"one"`, `"two"`}},
		{"key in the other token", func(o *certloader.PKCS11Options) { o.TokenLabel = "two" }, []string{"--cert ", `token "two" has no private key that fits certificate "CN=leaf"`}},
		{"no PIN", func(o *certloader.PKCS11Options) { o.PIN = "" }, []string{`--pkcs11-pin: token "one" needs one`}},
		{"short PIN", func(o *certloader.PKCS11Options) { o.PIN = "1" }, []string{`--pkcs11-pin: token "one" refused it`}},
		{"chain missing", func(o *certloader.PKCS11Options) { o.Cert = missing }, []string{"--cert " + missing}},
		{"trust missing", func(o *certloader.PKCS11Options) { o.CABundle = missing }, []string{"--cacert " + missing}},
	} {
		t.Run(test.name, func(t *testing.T) {
			opts := h.options(t, "one", encodePEM(certify(t, ca, key, "leaf")), ca.PEM())
			test.change(&opts)
			provider, err := certloader.PKCS11(opts)
			if err == nil {
				defer provider.Close()
				_, err = provider.Load(t.Context())
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not tell of %q", err, part)
				}
			}
			if strings.Contains(err.Error(), userPIN) {
				t.Errorf("error %q tells the PIN", err)
			}
		})
	}
}

func TestTheOnlyTokenNeedsNoLabel(t *testing.T) {
	h := newSoftHSM(t, "only")
	ca := newCA(t, devpki.Options{})
	key := newECDSA(t, elliptic.P256())
	h.importKey(t, "only", key)
	opts := h.options(t, "", encodePEM(certify(t, ca, key, "leaf")), ca.PEM())
	provider := newProvider(t, opts)
	if err := checkSignature(loadKey(t, provider), crypto.SHA256); err != nil {
		t.Error(err)
	}
	writeTo(t, opts.Cert, issue(t, ca, devpki.Request{CommonName: "other"}).CertPEM())
	if _, err := provider.Load(t.Context()); err == nil || !strings.Contains(err.Error(), `the token has no private key that fits certificate "CN=other"`) {
		t.Errorf("Load of a certificate whose key is elsewhere: %v", err)
	}
}

func TestTokensOfOneLabelCannotBeToldApart(t *testing.T) {
	h := newSoftHSM(t, "twin", "twin")
	ca := newCA(t, devpki.Options{})
	provider := newProvider(t, h.options(t, "twin", issue(t, ca, devpki.Request{CommonName: "leaf"}).CertPEM(), ca.PEM()))
	if _, err := provider.Load(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "--pkcs11-token-label twin: 2 tokens with this label") {
		t.Errorf("Load: %v", err)
	}
}
