package auth_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"sallyport/auth"
	"sallyport/devpki"
)

func pin(t testing.TB, text string) auth.Pin {
	t.Helper()
	p, err := auth.ParsePin(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pinsOf is the pins of a state's peer, by each digest.
func pinsOf(cs tls.ConnectionState) map[string]string {
	spki := cs.PeerCertificates[0].RawSubjectPublicKeyInfo
	digest256, digest384, digest512 := sha256.Sum256(spki), sha512.Sum384(spki), sha512.Sum512(spki)
	return map[string]string{
		"sha256": "sha256:" + base64.StdEncoding.EncodeToString(digest256[:]),
		"sha384": "sha384:" + base64.StdEncoding.EncodeToString(digest384[:]),
		"sha512": "sha512:" + base64.StdEncoding.EncodeToString(digest512[:]),
	}
}

// unverified is the state of a peer whose chain nobody has looked at.
func unverified(cs tls.ConnectionState) tls.ConnectionState {
	cs.VerifiedChains = nil
	return cs
}

func TestPinsMatchThePeersOwnKeyByEachDigest(t *testing.T) {
	t.Parallel()
	state, other := unverified(alice(t)), unverified(alice(t))
	behind := other
	behind.PeerCertificates = append(append([]*x509.Certificate{}, other.PeerCertificates...), state.PeerCertificates...)
	for name, text := range pinsOf(state) {
		for _, written := range []string{text, strings.Replace(text, "sha", "SHA", 1), strings.Replace(text, "sha", "ShA", 1)} {
			p := pin(t, written)
			if p.String() != text {
				t.Errorf("%s: is %s as text", written, p)
			}
			if err := auth.Pins(p)(state); err != nil {
				t.Errorf("%s: %v", written, err)
			}
		}
		p := pin(t, text)
		if err := auth.Pins(pin(t, pinsOf(other)[name]), p)(state); err != nil {
			t.Errorf("%s, the second of two: %v", name, err)
		}
		for what, cs := range map[string]tls.ConnectionState{
			"a certificate with the same names and another key": other,
			"the pinned certificate behind another":             behind,
			"no certificate":                                    {},
		} {
			if auth.Pins(p)(cs) == nil {
				t.Errorf("%s lets in a peer with %s", name, what)
			}
		}
	}
	if auth.PinOf(state.PeerCertificates[0]).String() != pinsOf(state)["sha256"] {
		t.Error("PinOf is not the SHA-256 pin")
	}
}

func TestPinsCountNothingButTheKey(t *testing.T) {
	t.Parallel()
	// Issued by nobody, for nobody, long ago: the key is all that is looked at.
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{{
		RawSubjectPublicKeyInfo: alice(t).PeerCertificates[0].RawSubjectPublicKeyInfo,
	}}}
	if err := auth.Pins(auth.PinOf(state.PeerCertificates[0]))(state); err != nil {
		t.Error(err)
	}
}

func TestNoPinLetsInNobody(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]auth.Authorizer{"none": auth.Pins(), "zero": auth.Pins(auth.Pin{})} {
		if rule(alice(t)) == nil {
			t.Errorf("%s: let in", name)
		}
	}
}

func TestPinRefusalsTellTheirReason(t *testing.T) {
	t.Parallel()
	state := alice(t)
	rule := auth.Pins(auth.PinOf(peer(t, devpki.Request{CommonName: "bob"}).PeerCertificates[0]))
	for _, test := range []struct {
		state  tls.ConnectionState
		reason string
		tells  []string
	}{
		{state, auth.ReasonPinMismatch, []string{"spiffe://example/other", pinsOf(state)["sha256"]}},
		{tls.ConnectionState{}, auth.ReasonNoCertificate, []string{"no certificate"}},
	} {
		refusal, ok := errors.AsType[*auth.PinError](rule(test.state))
		if !ok {
			t.Fatalf("%s: no *PinError", test.reason)
		}
		if refusal.Reason() != test.reason {
			t.Errorf("reason %s, want %s", refusal.Reason(), test.reason)
		}
		for _, text := range test.tells {
			if !strings.Contains(refusal.Error(), text) {
				t.Errorf("%q does not tell of %s", refusal, text)
			}
		}
	}
}

func TestPinsThatCannotBe(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256(nil)
	good := base64.StdEncoding.EncodeToString(digest[:])
	for text, want := range map[string]string{
		"":                   "not a pin",
		good:                 "not a pin",
		"sha256//" + good:    "not a pin",
		":" + good:           `with ""`,
		"md5:" + good:        `with "md5"`,
		"sha1:" + good:       "use sha256, sha384 or sha512",
		"sha-256:" + good:    "use sha256, sha384 or sha512",
		"sha384:" + good:     "has 32 bytes and should have 48",
		"sha512:" + good:     "has 32 bytes and should have 64",
		"sha256:":            "has 0 bytes",
		"sha256:" + good[4:]: "has 29 bytes",
		"sha256:" + hex.EncodeToString(digest[:]):                "not in hexadecimal",
		"sha256:" + strings.TrimRight(good, "="):                 "padding",
		"sha256:" + base64.URLEncoding.EncodeToString(digest[:]): "not in base64",
		"sha256:" + good + "\n":                                  "not in base64",
		"sha256:" + good[:8] + "\r\n" + good[8:]:                 "not in base64",
		"sha256: " + good:                                        "not in base64",
		"sha256:" + strings.Replace(good, "U=", "V=", 1):         "not in base64", // bits behind the digest
	} {
		p, err := auth.ParsePin(text)
		if err == nil {
			t.Errorf("%q: accepted as %s", text, p)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %q does not tell of %q", text, err, want)
		}
	}
	p := auth.PinOf(alice(t).PeerCertificates[0])
	before := p
	if p.UnmarshalText([]byte("sha256:")) == nil || p != before {
		t.Errorf("a text that is no pin made %s of %s", p, before)
	}
	if text := (auth.Pin{}).String(); text != "" {
		t.Errorf("the zero pin is %q", text)
	}
	if _, err := (auth.Pin{}).MarshalText(); err == nil {
		t.Error("the zero pin became text")
	}
}

// FuzzPin: what parses comes back as the same pin, written in one way only,
// whatever the case of its name.
func FuzzPin(f *testing.F) {
	f.Add("sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	f.Add("SHA384:OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb")
	f.Add("Sha512:z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==")
	f.Add("sha256:")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := auth.ParsePin(text)
		if err != nil {
			if p != (auth.Pin{}) {
				t.Errorf("%q is %s and an error", text, p)
			}
			return
		}
		if !utf8.ValidString(text) || !strings.EqualFold(p.String(), text) || p.String()[7:] != text[7:] {
			t.Errorf("%q became %q", text, p)
		}
		marshalled, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again auth.Pin
		if err := again.UnmarshalText(marshalled); err != nil || again != p {
			t.Errorf("%q became %q, then %q: %v", text, p, again, err)
		}
	})
}
