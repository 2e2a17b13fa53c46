package tests

import (
	"os"
	"path/filepath"
	"testing"

	"sallyport/devpki"
)

// A pki is a certificate authority whose identities lie in files, each where
// a flag can name it.
type pki struct {
	*devpki.CA

	dir  string
	root string // the CA certificate, for --cacert
}

// files are where one identity lies.
type files struct {
	*devpki.Identity

	cert, key string // for --cert and --key
	combined  string // for --keystore
}

// flags are the flags that present the identity.
func (f files) flags() []string { return []string{"--cert", f.cert, "--key", f.key} }

// newPKI makes an authority in a directory of its own.
func newPKI(t *testing.T) *pki {
	t.Helper()
	return authority(t, t.Name())
}

// authority is newPKI for one whose name matters.
func authority(t *testing.T, name string) *pki {
	t.Helper()
	ca, err := devpki.NewCA(devpki.Options{CommonName: name})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &pki{CA: ca, dir: dir, root: filepath.Join(dir, "ca.pem")}
	writeFile(t, p.root, ca.PEM())
	return p
}

// issue makes the identity that request describes, in files named name.
func (p *pki) issue(t *testing.T, name string, request devpki.Request) files {
	t.Helper()
	id, err := p.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	f := files{
		Identity: id,
		cert:     filepath.Join(p.dir, name+".pem"),
		key:      filepath.Join(p.dir, name+"-key.pem"),
		combined: filepath.Join(p.dir, name+"-combined.pem"),
	}
	writeFile(t, f.cert, id.CertPEM())
	writeFile(t, f.key, id.KeyPEM())
	writeFile(t, f.combined, id.CombinedPEM())
	return f
}

// server makes an identity that is valid for localhost.
func (p *pki) server(t *testing.T) files {
	t.Helper()
	return p.issue(t, "server", devpki.Request{
		CommonName: "server",
		DNSNames:   []string{"localhost"},
		IPs:        loopback,
	})
}

// client makes an identity with the common name client.
func (p *pki) client(t *testing.T) files {
	t.Helper()
	return p.issue(t, "client", devpki.Request{CommonName: "client"})
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
