package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"

	"sallyport/devpki"
)

// certificates are those of one run: an authority, and an identity for either side, also as files for the contestants:
// ca.pem, server.pem, server-key.pem, server-combined.pem, and those of client.
type certificates struct {
	dir            string
	roots          *x509.CertPool
	server, client tls.Certificate
}

// newCertificates makes them in a directory. All keys are of one kind, the authority's too.
func newCertificates(dir string, kind devpki.KeyKind) (*certificates, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ca, err := devpki.NewCA(devpki.Options{Key: kind})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o600); err != nil {
		return nil, err
	}
	issue := func(name string) (tls.Certificate, error) {
		id, err := ca.Issue(devpki.Request{
			CommonName: name, DNSNames: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr(loopback)}, Key: kind,
		})
		if err != nil {
			return tls.Certificate{}, err
		}
		for suffix, data := range map[string][]byte{".pem": id.CertPEM(), "-key.pem": id.KeyPEM(), "-combined.pem": id.CombinedPEM()} {
			if err := os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600); err != nil {
				return tls.Certificate{}, err
			}
		}
		return id.TLSCertificate(), nil
	}
	c := &certificates{dir: dir, roots: ca.Pool()}
	if c.server, err = issue("server"); err != nil {
		return nil, err
	}
	c.client, err = issue("client")
	return c, err
}

// loadCertificates reads from a directory what a client needs.
func loadCertificates(dir string) (*certificates, error) {
	client, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		return nil, err
	}
	server, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &certificates{dir: dir, roots: roots, server: server, client: client}, nil
}

// clientConfig is how to connect to a server that wants a certificate, with a key exchange that all have. Sessions are not
// resumed.
func (c *certificates) clientConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{c.client}, RootCAs: c.roots, ServerName: "localhost",
		MinVersion: tls.VersionTLS13, CurvePreferences: x25519,
	}
}

// serverConfig is how to be such a server.
func (c *certificates) serverConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{c.server}, ClientCAs: c.roots, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13,
	}
}
