//go:build cgo

package certloader

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

// tokenKey is a private key in a token.
type tokenKey struct {
	token  *token
	public crypto.PublicKey
	object atomic.Pointer[keyObject] // where it was last; nil: not looked for yet
}

// keyObject is where a token has a key. That is good for one login.
type keyObject struct {
	login        *login
	handle       pkcs11.ObjectHandle
	authenticate bool // the PIN is wanted for each signature
}

// key returns the private key that fits public, which is one that checkTokenKey
// lets pass. It has proved, just now, that it does.
func (t *token) key(public crypto.PublicKey) (*tokenKey, error) {
	k := &tokenKey{token: t, public: public}
	err := t.do(func(l *login, session pkcs11.SessionHandle) error {
		_, err := k.locate(l, session)
		return err
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Public returns the public key in the certificate.
func (k *tokenKey) Public() crypto.PublicKey { return k.public }

// Sign has the token sign. Randomness is the token's.
func (k *tokenKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = k.token.do(func(l *login, session pkcs11.SessionHandle) error {
		object, err := k.locate(l, session)
		if errors.Is(err, errNoTokenKey) {
			return k.token.failed("signing", err)
		}
		if err != nil {
			return err
		}
		signature, err = k.sign(session, object, digest, opts)
		return err
	})
	return signature, err
}

func (k *tokenKey) sign(session pkcs11.SessionHandle, object *keyObject, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	mechanism, input, err := signatureRequest(k.public, digest, opts)
	if err != nil {
		return nil, err
	}
	module := k.token.module
	if err := module.SignInit(session, []*pkcs11.Mechanism{mechanism}, object.handle); err != nil {
		return nil, k.token.failed("signing", err)
	}
	if object.authenticate {
		if err := k.token.authenticate(session, pkcs11.CKU_CONTEXT_SPECIFIC); err != nil {
			return nil, err
		}
	}
	signature, err := module.Sign(session, input)
	if err != nil {
		return nil, k.token.failed("signing", err)
	}
	if mechanism.Mechanism == pkcs11.CKM_ECDSA {
		return encodeECDSA(signature)
	}
	return signature, nil
}

// locate returns where the key is.
func (k *tokenKey) locate(l *login, session pkcs11.SessionHandle) (*keyObject, error) {
	if object := k.object.Load(); object != nil && object.login == l {
		return object, nil
	}
	handles, err := k.candidates(session)
	if err != nil {
		return nil, err
	}
	notFound := errNoTokenKey
	for _, handle := range handles {
		object := &keyObject{login: l, handle: handle}
		if object.authenticate, err = k.token.alwaysAuthenticate(session, handle); err != nil {
			return nil, err
		}
		fits, err := k.try(session, object)
		if tokenLost(err) {
			return nil, err
		}
		if err != nil {
			notFound = err // perhaps it is not for signing, and the next one is
		}
		if fits {
			k.object.Store(object)
			return object, nil
		}
	}
	return nil, notFound
}

// try has a key sign, and reports whether public verifies that. The text is
// none that TLS would sign.
func (k *tokenKey) try(session pkcs11.SessionHandle, object *keyObject) (bool, error) {
	digest := sha256.Sum256([]byte("sallyport: does this key fit?"))
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		// TLS 1.3 takes nothing else from RSA keys (RFC 8446, 4.4.3).
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		signature, err := k.sign(session, object, digest[:], opts)
		return err == nil && rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, opts) == nil, err
	case *ecdsa.PublicKey:
		signature, err := k.sign(session, object, digest[:], crypto.SHA256)
		return err == nil && ecdsa.VerifyASN1(public, digest[:], signature), err
	}
	return false, nil
}

// candidates returns the private keys that may be the one.
func (k *tokenKey) candidates(session pkcs11.SessionHandle) ([]pkcs11.ObjectHandle, error) {
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return k.token.objects(session, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA,
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS, public.N.Bytes()))
	case *ecdsa.PublicKey:
		return k.ecCandidates(session, public)
	}
	return nil, fmt.Errorf("a key of type %T", k.public)
}

// ecCandidates goes by the public key objects, which have the ID of the private
// ones: the latter do not tell their public half. If there is none it returns
// all private keys on the curve.
func (k *tokenKey) ecCandidates(session pkcs11.SessionHandle, public *ecdsa.PublicKey) ([]pkcs11.ObjectHandle, error) {
	point, err := public.Bytes()
	if err != nil {
		return nil, err
	}
	if point, err = asn1.Marshal(point); err != nil {
		return nil, err
	}
	parameters, err := asn1.Marshal(tokenCurves[public.Curve])
	if err != nil {
		return nil, err
	}
	halves, err := k.token.objects(session, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_EC, pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, point))
	if err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	for _, half := range halves {
		id, err := k.token.module.GetAttributeValue(session, half, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, nil)})
		if err != nil {
			return nil, k.token.failed("looking for the key", err)
		}
		found, err := k.token.objects(session, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, id...)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(all) > 0 {
		return all, nil
	}
	return k.token.objects(session, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, parameters))
}

// maxObjects bounds a search. Each candidate is tried out.
const maxObjects = 64

// objects finds the keys of a class and type that have attributes.
func (t *token) objects(session pkcs11.SessionHandle, class, keyType uint, attributes ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	template := append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyType),
	}, attributes...)
	if err := t.module.FindObjectsInit(session, template); err != nil {
		return nil, t.failed("looking for the key", err)
	}
	found, _, err := t.module.FindObjects(session, maxObjects)
	if final := t.module.FindObjectsFinal(session); err == nil {
		err = final
	}
	if err != nil {
		return nil, t.failed("looking for the key", err)
	}
	return found, nil
}

// alwaysAuthenticate reports whether a key wants the PIN for each signature, as
// some of a smart card's do.
func (t *token) alwaysAuthenticate(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) (bool, error) {
	values, err := t.module.GetAttributeValue(session, key, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_AUTHENTICATE, nil)})
	switch {
	case hasCode(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID): // the module knows of no such thing
		return false, nil
	case err != nil:
		return false, t.failed("looking at the key", err)
	}
	return len(values) == 1 && len(values[0].Value) == 1 && values[0].Value[0] != 0, nil
}

// tokenCurves has the identifiers of the curves that TLS signs with (RFC 5480,
// 2.1.1.1).
var tokenCurves = map[elliptic.Curve]asn1.ObjectIdentifier{
	elliptic.P256(): {1, 2, 840, 10045, 3, 1, 7},
	elliptic.P384(): {1, 3, 132, 0, 34},
	elliptic.P521(): {1, 3, 132, 0, 35},
}

// tokenDigests has, for the hash functions of TLS 1.2 and 1.3, their identifiers in
// signatures (RFC 8017, B.1) and in PKCS#11.
var tokenDigests = map[crypto.Hash]struct {
	identifier      asn1.ObjectIdentifier
	mechanism, mask uint
}{
	crypto.SHA256: {asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256},
	crypto.SHA384: {asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384},
	crypto.SHA512: {asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512},
}

// signatureRequest returns how to ask a token for a signature, and for one of
// what: of the mechanisms that take a digest, those that most tokens have.
func signatureRequest(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) (*pkcs11.Mechanism, []byte, error) {
	hash := opts.HashFunc()
	algorithm, ok := tokenDigests[hash]
	if !ok || len(digest) != hash.Size() {
		return nil, nil, fmt.Errorf("a token cannot sign %d bytes as a digest of %s", len(digest), hash)
	}
	if public, ok := public.(*ecdsa.PublicKey); ok {
		// Tokens differ in what they make of a digest that is longer than the
		// curve's order: its left part is what counts (FIPS 186-5, 6.4.1).
		size := (public.Params().N.BitLen() + 7) / 8
		return pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil), digest[:min(len(digest), size)], nil
	}
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		salt := pss.SaltLength
		if salt == rsa.PSSSaltLengthEqualsHash || salt == rsa.PSSSaltLengthAuto {
			salt = hash.Size()
		}
		parameters := pkcs11.NewPSSParams(algorithm.mechanism, algorithm.mask, uint(salt))
		return pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_PSS, parameters), digest, nil
	}
	// DigestInfo (RFC 8017, 9.2).
	input, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}{pkix.AlgorithmIdentifier{Algorithm: algorithm.identifier, Parameters: asn1.NullRawValue}, digest})
	return pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil), input, err
}

// encodeECDSA makes of r and s, side by side as PKCS#11 has them, what TLS wants
// (RFC 8422, 5.4).
func encodeECDSA(signature []byte) ([]byte, error) {
	half := len(signature) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(signature[:half]),
		new(big.Int).SetBytes(signature[half:]),
	})
}
