package sidecar

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/devpki"
)

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

func TestCheckRefusesShortRSAKeys(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(day)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string][]byte{
		"server.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"server-key.pem": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	})
	var out strings.Builder
	err = Check(t.Context(), parse(t, dir, checkServer), &out)
	if err == nil || !strings.Contains(err.Error(), "localhost has an RSA key of 1024 bits, and peers refuse less than 2048") {
		t.Errorf("Check: %v\n%s", err, &out)
	}
}

// signers is a root, an intermediate of it, and an identity that the latter issued.
func signers(t *testing.T, request devpki.Request) (root, sub *devpki.CA, id *devpki.Identity) {
	t.Helper()
	root, err := devpki.NewCA(devpki.Options{CommonName: "root"})
	if err != nil {
		t.Fatal(err)
	}
	if sub, err = root.Intermediate(devpki.Options{CommonName: "sub"}); err != nil {
		t.Fatal(err)
	}
	if id, err = sub.Issue(request); err != nil {
		t.Fatal(err)
	}
	return root, sub, id
}

func TestCheckNotesAnIssuerThatIsNotThere(t *testing.T) {
	t.Parallel()
	root, sub, id := signers(t, devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}})
	other, _, _ := signers(t, devpki.Request{CommonName: "other"})
	for _, test := range []struct {
		name         string
		chain, trust []*x509.Certificate
		want         string // empty: no note
	}{
		{"a whole chain", []*x509.Certificate{id.Leaf, sub.Certificate()}, []*x509.Certificate{root.Certificate()}, ""},
		{"a chain with its root", []*x509.Certificate{id.Leaf, sub.Certificate(), root.Certificate()}, []*x509.Certificate{other.Certificate()}, ""},
		{"a leaf of a trusted intermediate", []*x509.Certificate{id.Leaf}, []*x509.Certificate{sub.Certificate()}, ""},
		{"a leaf alone", []*x509.Certificate{id.Leaf}, []*x509.Certificate{root.Certificate()}, "the chain ends at CN=web, whose issuer CN=sub is not in it"},
		{"a chain to a root of others", []*x509.Certificate{id.Leaf, sub.Certificate()}, []*x509.Certificate{other.Certificate()}, "the chain ends at CN=sub, whose issuer CN=root is not in it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			write(t, dir, map[string][]byte{"ca.pem": pemOf(test.trust...), "server.pem": pemOf(test.chain...), "server-key.pem": id.KeyPEM()})
			var out strings.Builder
			if err := Check(t.Context(), parse(t, dir, checkServer), &out); err != nil {
				t.Errorf("Check: %v", err)
			}
			if noted := strings.Contains(out.String(), "NOTE"); noted != (test.want != "") || !strings.Contains(out.String(), test.want) {
				t.Errorf("want the note %q:\n%s", test.want, &out)
			}
		})
	}
}

// TestCheckNotesThatEverybodyComesIn: with the system's CAs, --allow-all lets in strangers.
func TestCheckNotesThatEverybodyComesIn(t *testing.T) {
	t.Parallel()
	root, _, id := signers(t, devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}})
	dir := newDir(t)
	write(t, dir, map[string][]byte{"ca.pem": pemOf(root.Certificate()), "server.pem": pemOf(id.Leaf, root.Certificate()), "server-key.pem": id.KeyPEM()})
	const (
		identity = " --target localhost:8080 --cert @/server.pem --key @/server-key.pem"
		note     = "NOTE       whoever has a client certificate of any of them comes in; --cacert names those that are meant"
	)
	for _, test := range []struct {
		name, line string
		noted      bool
	}{
		{"everybody of the system's CAs", "server --listen localhost:8443 --allow-all" + identity, true},
		{"everybody of a CA", "server --listen localhost:8443 --allow-all --cacert @/ca.pem" + identity, false},
		{"one of the system's CAs", "server --listen localhost:8443 --allow-dns web.example.com" + identity, false},
		{"a target of the system's CAs", "client --listen localhost:8000" + identity, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			_ = Check(t.Context(), parse(t, dir, test.line), &out)
			if noted := strings.Contains(out.String(), note); noted != test.noted {
				t.Errorf("noted: %v, want %v:\n%s", noted, test.noted, &out)
			}
		})
	}
}

func TestCheckNotesATrustedCertificateThatIsNoCA(t *testing.T) {
	t.Parallel()
	root, _, id := signers(t, devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}})
	client, err := root.Issue(devpki.Request{CommonName: "client"})
	if err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	write(t, dir, map[string][]byte{"ca.pem": pemOf(root.Certificate(), client.Leaf), "server.pem": id.CertPEM(), "server-key.pem": id.KeyPEM()})
	var out strings.Builder
	if err := Check(t.Context(), parse(t, dir, checkServer), &out); err != nil {
		t.Errorf("Check: %v", err)
	}
	if strings.Count(out.String(), "is no CA") != 1 || !strings.Contains(out.String(), "NOTE       CN=client is no CA, so that nobody but its owner is let in by it") {
		t.Errorf("the report is\n%s", &out)
	}
}

func TestCheckNamesCAsWithoutRevocationList(t *testing.T) {
	t.Parallel()
	root, sub, id := signers(t, devpki.Request{CommonName: "web", DNSNames: []string{"localhost"}})
	other, err := devpki.NewCA(devpki.Options{CommonName: "other"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		trust   []*devpki.CA
		lists   []*devpki.CA
		missing []*devpki.CA
		problem bool
	}{
		{name: "all there", trust: []*devpki.CA{root}, lists: []*devpki.CA{root, sub}},
		{name: "the intermediate's missing", trust: []*devpki.CA{root}, lists: []*devpki.CA{root}, missing: []*devpki.CA{sub}},
		{name: "one root's missing", trust: []*devpki.CA{root, other}, lists: []*devpki.CA{root, sub}, missing: []*devpki.CA{other}},
		{name: "every trusted CA's missing", trust: []*devpki.CA{root}, lists: []*devpki.CA{sub}, missing: []*devpki.CA{root}, problem: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			var trust []byte
			for _, ca := range test.trust {
				trust = append(trust, ca.PEM()...)
			}
			write(t, dir, map[string][]byte{"ca.pem": trust, "server.pem": id.CertPEM(), "server-key.pem": id.KeyPEM()})
			line := checkServer
			for _, ca := range test.lists {
				name := ca.Certificate().Subject.CommonName + ".crl"
				writeCRL(t, filepath.Join(dir, name), ca, time.Now().Add(day))
				line += " --crl @/" + name
			}
			var out strings.Builder
			err := Check(t.Context(), parse(t, dir, line), &out)
			if problem := err != nil && strings.Contains(err.Error(), "no list of any CA that is trusted"); problem != test.problem || !problem && err != nil {
				t.Errorf("Check: %v", err)
			}
			for _, ca := range test.missing {
				if want := "no list of " + ca.Certificate().Subject.String() + ": clients with certificates of it will be refused (crl_missing)"; !strings.Contains(out.String(), want) {
					t.Errorf("the report has no %q", want)
				}
			}
			if got := strings.Count(out.String(), "NOTE"); got != len(test.missing) {
				t.Errorf("%d notes, want %d:\n%s", got, len(test.missing), &out)
			}
		})
	}
}

func TestACertificateWithoutSubjectHasATitle(t *testing.T) {
	t.Parallel()
	uri := &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/web"}
	serial := big.NewInt(0x1f)
	for want, cert := range map[string]*x509.Certificate{
		"web.example":              {SerialNumber: serial, DNSNames: []string{"web.example"}, URIs: []*url.URL{uri}},
		"spiffe://example.org/web": {SerialNumber: serial, URIs: []*url.URL{uri}},
		"serial number 1f":         {SerialNumber: serial},
	} {
		if got := title(cert); got != want {
			t.Errorf("title %q, want %q", got, want)
		}
	}
}
