package keystore

import (
	"testing"

	"sallyport/devpki"
)

func TestFormatsAreToldByExtensionOrElseByContent(t *testing.T) {
	t.Parallel()
	id := newTestIdentity(t, devpki.Ed25519)
	bag := must[[]byte](t)(id.PKCS12(""))
	java := javaStore(jksMagic, 2, "")
	content := map[format][]byte{
		formatPEM:    id.CombinedPEM(),
		formatDER:    id.Leaf.Raw,
		formatPKCS7:  signedData(t, id.Leaf),
		formatPKCS12: bag,
		formatJava:   java,
	}
	for want, data := range content {
		for _, name := range []string{"x", "x.crt", "x.cer", "x.key", "x.keystore", "dir.pem/x"} {
			if got := formatOf(name, data); got != want {
				t.Errorf("%s with content of format %d: got %d", name, want, got)
			}
			if got := formatOf(name, data[:20]); want != formatPEM && got != want {
				t.Errorf("%s with a beginning of format %d: got %d", name, want, got)
			}
		}
		unmistakable := want == formatPEM || want == formatPKCS12 || want == formatJava
		for name, named := range map[string]format{"x.pem": formatPEM, "x.DER": formatDER, "x.p12": formatPKCS12, "x.Pfx": formatPKCS12} {
			if unmistakable {
				named = want
			}
			if got := formatOf(name, data); got != named {
				t.Errorf("%s with content of format %d: got %d, want %d", name, want, got, named)
			}
		}
	}
	for _, test := range []struct {
		name string
		data []byte
		want format
	}{
		{"x.jks", java, formatJava},
		{"x.jks", bag, formatPKCS12},
		{"x.jceks", bag, formatPKCS12},
		{"x.jks", []byte("garbage"), formatJava},
		{"x.p7b", id.CertPEM(), formatPEM},
		{"x.p7b", content[formatPKCS7], formatPKCS7},
		{"x.p7c", []byte("garbage"), formatPKCS7},
		{"x", pkcs8(t, id), formatDER},
		{"x", withPBKDF2(t, pkcs8(t, id), "pw", 1), formatDER},
		{"x", []byte("garbage that is long enough"), formatUnknown},
		{"x", []byte("0 is how this text begins"), formatUnknown}, // 0x30, as a sequence does
		{"x", []byte("0 before\n-----BEGIN CERTIFICATE-----\n"), formatPEM},
		{"x", append([]byte{0x30, 0xff}, make([]byte, 20)...), formatUnknown},
		{"x", []byte{0x30}, formatUnknown},
		{"x", []byte{0x30, 0x84}, formatDER},
	} {
		if got := formatOf(test.name, test.data); got != test.want {
			t.Errorf("%s with %.10q: got %d, want %d", test.name, test.data, got, test.want)
		}
	}
}
