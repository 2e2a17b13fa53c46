//go:build cgo

package certloader

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"testing"

	"github.com/miekg/pkcs11"
)

func TestThoseWhoFindATokenLostTogetherShareOneAttempt(t *testing.T) {
	t.Parallel()
	outcome := errors.New("no token")
	// Without a module, an attempt of its own would panic.
	lost := &token{attempts: 5, err: outcome}
	if err := lost.connect(4, errNoLogin); !errors.Is(err, outcome) || lost.attempts != 5 {
		t.Errorf("connect: %v after %d attempts, want what the fifth came to", err, lost.attempts)
	}
}

// SoftHSM would shorten it by itself; not every token does.
func TestADigestIsCutToTheOrderOfTheCurve(t *testing.T) {
	t.Parallel()
	for curve, want := range map[elliptic.Curve]int{elliptic.P256(): 32, elliptic.P384(): 48, elliptic.P521(): 64} {
		mechanism, input, err := signatureRequest(&ecdsa.PublicKey{Curve: curve}, make([]byte, 64), crypto.SHA512)
		if err != nil || len(input) != want || mechanism.Mechanism != pkcs11.CKM_ECDSA {
			t.Errorf("%s: %d bytes, %v, want %d", curve.Params().Name, len(input), err, want)
		}
	}
}

// Modules differ in what they say of a session, a login or a device that is no
// more, and some have codes of their own. To log in again over anything else would
// not help, and interrupt the others.
func TestWhatMayMeanThatATokenIsLost(t *testing.T) {
	t.Parallel()
	const vendors = pkcs11.Error(pkcs11.CKR_VENDOR_DEFINED + 7)
	for err, want := range map[error]bool{
		nil:                                     false,
		errNoLogin:                              true,
		errNoTokenKey:                           true,
		vendors:                                 true,
		errors.New("something else"):            false,
		pkcs11.Error(pkcs11.CKR_DEVICE_REMOVED): true,
		pkcs11.Error(pkcs11.CKR_PIN_INCORRECT):  false,
		pkcs11.Error(pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED):                             false,
		(&token{label: "t"}).failed("signing", pkcs11.Error(pkcs11.CKR_SESSION_CLOSED)): true,
		(&token{label: "t"}).failed("signing", vendors):                                 true,
	} {
		if got := tokenLost(err); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}
