package certloader_test

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"sallyport/certloader"
	"sallyport/devpki"
)

// newSplit makes a resumption whose server has an identity of one CA, and lets
// in the clients of another.
func newSplit(t *testing.T, version uint16) (r *resumption, trust *certloader.Source, trustFiles *store) {
	t.Helper()
	servers, clients := newCA(t, devpki.Options{CommonName: "of servers"}), newCA(t, devpki.Options{CommonName: "of clients"})
	r = &resumption{
		ca:     clients,
		server: issue(t, servers, devpki.Request{DNSNames: []string{"localhost"}}),
		client: issue(t, clients, devpki.Request{CommonName: "alice"}),
	}
	r.serverSource, r.serverFiles = newSource(t, material(r.server, servers))
	r.clientSource, r.clientFiles = newSource(t, material(r.client, servers))
	trust, trustFiles = newSource(t, material(nil, clients))
	r.serverConfig = r.serverSource.ServerConfig(certloader.ServerOptions{Authorize: allow, Trust: trust, MaxVersion: version})
	r.clientConfig = r.clientSource.ClientConfig(certloader.ClientOptions{ServerName: "localhost"})
	r.clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	r.wantAccepted(t, false)
	return r, trust, trustFiles
}

func TestTheTrustOfAnotherSourceDecidesAboutClients(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _, _ := newSplit(t, version)
			servers := newCA(t, devpki.Options{})
			r.serverFiles.Store(material(r.server, servers))
			if err := r.serverSource.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.wantAccepted(t, true) // what this Source trusts does not matter

			var hints [][]byte
			stranger := issue(t, servers, devpki.Request{CommonName: "alice"}).TLSCertificate()
			got := shake(t, &tls.Config{
				InsecureSkipVerify: true,
				GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
					hints = request.AcceptableCAs
					return &stranger, nil
				},
			}, r.serverConfig)
			if reason(got.serverError) != "unknown_ca" {
				t.Errorf("a client of the Source's own CA: %v, want unknown_ca", got.serverError)
			}
			if want := r.ca.Root().RawSubject; len(hints) != 1 || !bytes.Equal(hints[0], want) {
				t.Errorf("hints at %q, want the other Source's CA", hints)
			}
			got = shake(t, &tls.Config{InsecureSkipVerify: true}, r.serverConfig)
			if got.serverError == nil {
				t.Error("let in without a certificate")
			}
		})
	}
}

func TestSessionsGoByTheTrustOfTheOtherSource(t *testing.T) {
	eachVersion(t, func(t *testing.T, version uint16) {
		r, trust, trustFiles := newSplit(t, version)
		r.wantAccepted(t, true)
		if err := r.serverSource.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.wantAccepted(t, true)

		trustFiles.Store(material(nil, newCA(t, devpki.Options{})))
		if err := trust.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := shake(t, r.clientConfig, r.serverConfig); reason(got.serverError) != "unknown_ca" {
			t.Errorf("with a ticket from before: %v, want unknown_ca", got.serverError)
		}
	})
}

func TestBundleIsTrustAlone(t *testing.T) {
	t.Parallel()
	ca := newCA(t, devpki.Options{})
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := certloader.New(t.Context(), certloader.Bundle("--status-client-ca", path))
	if err != nil {
		t.Fatal(err)
	}
	if all := source.Certificates(); len(all) != 1 || all[0].Role != certloader.RoleCA || !all[0].X509.Equal(ca.Root()) {
		t.Errorf("holds %v, want the CA alone", all)
	}
	for _, broken := range []string{"", "nonsense", "-----BEGIN CERTIFICATE-----\n"} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := source.Reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "--status-client-ca "+path+": ") {
			t.Errorf("%q: %v, want an error that names flag and file", broken, err)
		}
	}
	if all := source.Certificates(); len(all) != 1 {
		t.Errorf("holds %v after failures, want what it held", all)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}
