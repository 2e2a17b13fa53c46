package certloader_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/certloader"
	"sallyport/devpki"
)

// crlOf makes a list of ca's that names the certificates. It is a day old and
// lasts another, unless change says otherwise.
func crlOf(t testing.TB, ca *devpki.CA, change func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number:     big.NewInt(0x1f),
		ThisUpdate: time.Now().Add(-24 * time.Hour),
		NextUpdate: time.Now().Add(24 * time.Hour),
	}
	for _, cert := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber:   cert.SerialNumber,
			RevocationTime: time.Now().Add(-48 * time.Hour),
			ReasonCode:     1,
		})
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Certificate(), ca.Key())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func crlPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	return out
}

// between dates a list, by how far from now.
func between(from, to time.Duration) func(*x509.RevocationList) {
	return func(list *x509.RevocationList) {
		list.ThisUpdate, list.NextUpdate = time.Now().Add(from), time.Now().Add(to)
	}
}

// extended adds a critical extension to a list.
func extended(value []byte, id ...int) func(*x509.RevocationList) {
	return func(list *x509.RevocationList) {
		list.ExtraExtensions = append(list.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value})
	}
}

// scoped adds an issuing distribution point, whose fields are given in DER.
func scoped(fields ...[]byte) func(*x509.RevocationList) {
	return extended(tlv(0x30, fields...), 2, 5, 29, 28)
}

// scopedTo adds one that has a URI for its name.
func scopedTo(uri string) func(*x509.RevocationList) {
	return scoped(tlv(0xa0, tlv(0xa0, tlv(0x86, []byte(uri)))))
}

// yes is a context-specific field that is true.
func yes(tag byte) []byte { return tlv(0x80|tag, []byte{0xff}) }

func tlv(tag byte, content ...[]byte) []byte {
	var all []byte
	for _, part := range content {
		all = append(all, part...)
	}
	if len(all) > 127 {
		panic("too long for this")
	}
	return append([]byte{tag, byte(len(all))}, all...)
}

// tbsCertList is what a CRL says, as RFC 5280, 5.1 has it.
type tbsCertList struct {
	Version    int `asn1:"optional"`
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	ThisUpdate time.Time
	NextUpdate time.Time     `asn1:"optional"`
	Extensions asn1.RawValue `asn1:"optional,tag:0"`
}

// resigned makes a list such as crypto/x509 does not: ca's, but changed and
// signed by signer.
func resigned(t testing.TB, ca, signer *devpki.CA, change func(*tbsCertList)) []byte {
	t.Helper()
	var outer struct {
		List      tbsCertList
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(crlOf(t, ca, nil), &outer); err != nil {
		t.Fatal(err)
	}
	change(&outer.List)
	list, err := asn1.Marshal(outer.List)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(list)
	if outer.Signature.Bytes, err = signer.Key().Sign(rand.Reader, hash[:], crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	outer.Signature.BitLength = 8 * len(outer.Signature.Bytes)
	der, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func withoutNextUpdate(list *tbsCertList) { list.NextUpdate = time.Time{} }

// versionOne is a list as openssl ca makes it by default.
func versionOne(list *tbsCertList) { list.Version, list.Extensions = 0, asn1.RawValue{} }

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not tell of %q", err, part)
		}
	}
}

// loadCRL loads a file of lists beside the trust in ca.
func loadCRL(t testing.TB, ca *devpki.CA, path string) error {
	t.Helper()
	s := new(store)
	s.Store(material(nil, ca))
	_, err := certloader.WithCRLs(loader(s.load), path).Load(t.Context())
	return err
}

func TestCRLFormats(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	der, other := crlOf(t, ca, nil), crlOf(t, ca, nil)
	for name, data := range map[string][]byte{
		"DER":                           der,
		"PEM":                           crlPEM(der),
		"PEM with text before it":       append([]byte("0: of our CA\n"), crlPEM(der)...),
		"several in PEM":                crlPEM(der, other),
		"a certificate beside it":       append(ca.PEM(), crlPEM(der)...),
		"scope that covers everything":  crlOf(t, ca, scoped()),
		"scope of leaves":               crlOf(t, ca, scoped(yes(1))),
		"scope of a distribution point": crlOf(t, ca, scopedTo("http://crl.example/1")),
		"an unknown extension": crlOf(t, ca, func(list *x509.RevocationList) {
			list.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
		}),
	} {
		if err := loadCRL(t, ca, write(t, "crl", data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnusableCRLsDoNotLoad(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{CommonName: "test CA"})
	impostor := newCA(t, devpki.Options{})
	der := crlOf(t, ca, nil)
	encoded := crlPEM(der)
	entry := func(id ...int) func(*x509.RevocationList) {
		return func(list *x509.RevocationList) {
			list.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(1), RevocationTime: time.Now(),
				ExtraExtensions: []pkix.Extension{{Id: id, Critical: true, Value: []byte{0x30, 0}}},
			}}
		}
	}
	for _, test := range []struct {
		name string
		data []byte
		text string
	}{
		{"empty", nil, "empty"},
		{"garbage", []byte("no list at all\n"), "no PEM block"},
		{"truncated PEM", encoded[:len(encoded)-20], "truncated"},
		{"truncated DER", der[:len(der)-1], "malformed"},
		{"something after the DER", append(slices.Clip(der), 0), "1 bytes follow"},
		{"DER of a certificate", ca.Certificate().Raw, "not a CRL"},
		{"certificates alone", ca.PEM(), "it holds CERTIFICATE"},
		{"a bad one after a good one", append(encoded, crlPEM(der[:30])...), "CRL 2: "},
		{"without an end", resigned(t, ca, ca, withoutNextUpdate), "nextUpdate"},
		{"version 1", resigned(t, ca, ca, versionOne), "version 1"},
		{"delta", crlOf(t, ca, extended([]byte{2, 1, 1}, 2, 5, 29, 27)), "delta CRL"},
		{"indirect", crlOf(t, ca, scoped(yes(4))), "indirect CRL"},
		{"an entry of another issuer", crlOf(t, ca, entry(2, 5, 29, 29)), "indirect CRL"},
		{"for some reasons", crlOf(t, ca, scoped(tlv(0x83, []byte{5, 0x60}))), "some reasons"},
		{"for attribute certificates", crlOf(t, ca, scoped(yes(5))), "attribute certificates"},
		{"for leaves and CAs alone", crlOf(t, ca, scoped(yes(1), yes(2))), "at once"},
		{"a distribution point by another name", crlOf(t, ca, scoped(tlv(0xa0, tlv(0xa1)))), "without a URI"},
		{"a distribution point without a name", crlOf(t, ca, scoped(tlv(0xa0, tlv(0xa0)))), "without a URI"},
		{"a distribution point whose name is malformed", crlOf(t, ca, scoped(tlv(0xa0, []byte{0xa0, 5}))), "malformed name"},
		{"a distribution point whose name is no name", crlOf(t, ca, scoped(tlv(0xa0, tlv(4)))), "malformed name"},
		{"a distribution point whose URI is malformed", crlOf(t, ca, scoped(tlv(0xa0, tlv(0xa0, []byte{0x86, 5})))), "malformed name"},
		{"a malformed distribution point", crlOf(t, ca, extended([]byte{4, 0}, 2, 5, 29, 28)), "malformed"},
		{"two distribution points", crlOf(t, ca, func(list *x509.RevocationList) { scoped()(list); scoped()(list) }), "two issuing"},
		{"an unknown critical extension", crlOf(t, ca, extended([]byte{5, 0}, 1, 2, 3)), "1.2.3"},
		{"an unknown critical extension of an entry", crlOf(t, ca, entry(1, 2, 3)), "1.2.3 of an entry"},
		{"signed by another", resigned(t, ca, impostor, func(*tbsCertList) {}), `not that of "CN=test CA"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "crl", test.data)
			wantError(t, loadCRL(t, ca, path), "--crl "+path+": ", test.text)
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "crl")
		wantError(t, loadCRL(t, ca, path), "--crl "+path+": ", "no such file")
	})
}

// No flipped bit makes another list of one: it does not load, unless it says
// that it is another CA's, or for another of its keys.
func TestDamagedCRLsDoNotLoad(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	good := crlOf(t, ca, nil, issue(t, ca, devpki.Request{CommonName: "alice"}).Leaf)
	path := filepath.Join(t.TempDir(), "crl")
	loaded := 0
	for i := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		writeTo(t, path, bad)
		if loadCRL(t, ca, path) != nil {
			continue
		}
		loaded++
		list, err := x509.ParseRevocationList(bad)
		if err != nil || bytes.Equal(list.RawIssuer, ca.Certificate().RawSubject) &&
			bytes.Equal(list.AuthorityKeyId, ca.Certificate().SubjectKeyId) {
			t.Errorf("loads with bit %d of byte %d flipped", i%8, i/8)
		}
		if list.CheckSignatureFrom(ca.Certificate()) == nil {
			t.Errorf("is good for its CA with bit %d of byte %d flipped", i%8, i/8)
		}
	}
	t.Logf("%d of %d load, none of them as the CA's", loaded, len(good)*8)
}
