package keystore

import (
	"bytes"
	"strings"
	"testing"

	"sallyport/devpki"
)

func TestKeystoresOfEveryKindLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []devpki.KeyKind{devpki.ECDSAP256, devpki.RSA2048, devpki.Ed25519} {
		id := newTestIdentity(t, kind)
		for _, sample := range samples(t, id) {
			t.Run(sample.name+" of "+kind.String(), func(t *testing.T) {
				t.Parallel()
				identity, err := sample.load(sample.data, "changeit")
				if err != nil {
					t.Fatal(err)
				}
				if !isIdentity(identity, id) {
					t.Error("loaded as another identity")
				}
				for _, wrong := range []string{"", "Changeit", "changeit ", "pässword", "\U0001F511"} {
					if identity, err := sample.load(sample.data, wrong); err == nil {
						t.Errorf("opened by %q: %v", wrong, identity.Leaf.Subject)
					}
				}
			})
		}
	}
}

// A bit that flips must not go unnoticed: it is an error, or what loads is the
// same to the last byte, or, where nothing but the certificate proves a key, it
// is still the key that fits.
func TestAFlippedBitNeverLoadsAnotherIdentity(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.ECDSAP256)
	for _, sample := range samples(t, id) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			loaded := 0
			for i := range len(sample.data) * 8 {
				data := bytes.Clone(sample.data)
				data[i/8] ^= 1 << (i % 8)
				identity, err := sample.load(data, "changeit")
				if err != nil {
					continue
				}
				loaded++
				if !isIdentity(identity, id) {
					t.Errorf("with bit %d of byte %d flipped it loads as another identity", i%8, i/8)
				}
			}
			// JKS and JCEKS have a hash over every bit.
			if strings.HasPrefix(sample.name, "J") && loaded > 0 {
				t.Errorf("loaded with any of %d bits flipped", loaded)
			}
			t.Logf("loads as the same with any of %d of %d bits flipped", loaded, len(sample.data)*8)
		})
	}
}

func TestATruncatedKeystoreDoesNotLoad(t *testing.T) {
	t.Parallel()
	for _, sample := range samples(t, newTestIdentity(t, devpki.ECDSAP256)) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			for length := range sample.data {
				if _, err := sample.load(sample.data[:length], "changeit"); err == nil {
					t.Errorf("the first %d of %d bytes load", length, len(sample.data))
				}
			}
			if _, err := sample.load(append(bytes.Clone(sample.data), 0), "changeit"); err == nil {
				t.Error("it loads with a byte after its end")
			}
		})
	}
}
