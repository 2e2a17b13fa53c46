package tests

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// A crlIssuer makes the revocation lists of an authority with openssl ca.
type crlIssuer struct {
	t    *testing.T
	dir  string
	path string // the list, for --crl
}

// newCRLIssuer publishes a list that revokes nobody.
func newCRLIssuer(t *testing.T, p *pki) *crlIssuer {
	t.Helper()
	c := &crlIssuer{t: t, dir: t.TempDir()}
	c.path = filepath.Join(c.dir, "crl.pem")
	key, err := x509.MarshalPKCS8PrivateKey(p.Key())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"ca.pem":    p.PEM(),
		"key.pem":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"index.txt": nil,
		"crlnumber": []byte("01\n"),
		"openssl.cnf": []byte(`
			[ca]
			default_ca = authority
			[authority]
			database = index.txt
			crlnumber = crlnumber
			certificate = ca.pem
			private_key = key.pem
			default_md = sha256
			default_days = 1
			policy = anything
			[anything]
			[version2]
			authorityKeyIdentifier = keyid:always
		`),
	} {
		writeFile(t, filepath.Join(c.dir, name), content)
	}
	c.publish()
	return c
}

func (c *crlIssuer) openssl(args ...string) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), need(c.t, "openssl"), args...)
	cmd.Dir = c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// revoke revokes the certificate in a file. It is in lists from then on.
func (c *crlIssuer) revoke(cert string) {
	c.t.Helper()
	c.openssl("ca", "-config", "openssl.cnf", "-revoke", cert, "-crl_reason", "keyCompromise")
}

// publish puts a new list in the place of the old one. It is good for an hour
// unless there are more flags of openssl ca.
func (c *crlIssuer) publish(flags ...string) {
	c.t.Helper()
	if flags == nil {
		flags = []string{"-crlhours", "1"}
	}
	c.openssl(append([]string{"ca", "-config", "openssl.cnf", "-gencrl", "-crlexts", "version2", "-out", "new.pem"}, flags...)...)
	if err := os.Rename(filepath.Join(c.dir, "new.pem"), c.path); err != nil {
		c.t.Fatal(err)
	}
}

// A tlsClient connects with an identity, and keeps its session tickets.
type tlsClient struct {
	address string
	config  *tls.Config
}

func newTLSClient(p *pki, address string, id *devpki.Identity, version uint16) *tlsClient {
	return &tlsClient{address, &tls.Config{
		ServerName:         "localhost",
		RootCAs:            p.Pool(),
		Certificates:       []tls.Certificate{id.TLSCertificate()},
		MinVersion:         version,
		MaxVersion:         version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}}
}

// connect returns a connection over which an echo has answered.
func (c *tlsClient) connect(t *testing.T) (*tls.Conn, error) {
	t.Helper()
	conn := tls.Client(dial(t, "tcp", c.address), c.config)
	return conn, echoes(conn)
}

func TestARevokedClientIsRefusedAfterAReload(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	service, listen, crl := serve(t, "tcp", echo), reserve(t), newCRLIssuer(t, p)
	server := startServer(t, p, listen, service.address, "--allow-all", "--crl", crl.path, "--no-watch-files")
	alice, bob := p.client(t), p.issue(t, "bob", devpki.Request{CommonName: "bob"})

	var resumed, others []*tlsClient
	var open []net.Conn
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := newTLSClient(p, listen, alice.Identity, version)
		for _, ticket := range []bool{false, true} {
			conn, err := client.connect(t)
			if err != nil {
				t.Fatal(err)
			}
			if conn.ConnectionState().DidResume != ticket {
				t.Errorf("%s: resumed is %t", tls.VersionName(version), !ticket)
			}
			open = append(open, conn)
		}
		resumed = append(resumed, client)
		others = append(others, newTLSClient(p, listen, bob.Identity, version))
	}

	crl.revoke(alice.cert)
	crl.publish()
	server.signal(t, syscall.SIGHUP)
	server.waitLine(t, "msg=reloaded")
	for _, client := range resumed {
		_, err := client.connect(t)
		if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
			t.Errorf("a revoked client with a ticket: %v, want an alert", err)
		}
	}
	server.waitLines(t, 2, "error on TLS handshake", "reason=revoked", "keyCompromise")
	for _, client := range others {
		conn, err := client.connect(t)
		if err != nil {
			t.Fatalf("a client that is not revoked: %v", err)
		}
		open = append(open, conn)
	}
	for _, conn := range open { // without --crl-close-revoked
		if err := errors.Join(echoes(conn), conn.Close()); err != nil {
			t.Errorf("an open connection: %v", err)
		}
	}
	server.stop(t)
}

func TestOpenConnectionsOfRevokedClientsAreClosed(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	service, listen, crl := serve(t, "tcp", echo), reserve(t), newCRLIssuer(t, p)
	server := startServer(t, p, listen, service.address, "--allow-all", "--crl", crl.path, "--crl-close-revoked")
	alice, bob := p.client(t), p.issue(t, "bob", devpki.Request{CommonName: "bob"})
	revoked, err := newTLSClient(p, listen, alice.Identity, 0).connect(t)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newTLSClient(p, listen, bob.Identity, 0).connect(t)
	if err != nil {
		t.Fatal(err)
	}

	crl.revoke(alice.cert)
	crl.publish() // no signal: the file is watched
	if n, err := revoked.Read(make([]byte, 1)); err == nil {
		t.Errorf("the revoked client read %d bytes", n)
	}
	server.waitLine(t, "closed pipe", "identity=client", "reason=revoked")
	if err := errors.Join(echoes(other), other.Close()); err != nil {
		t.Errorf("the other client: %v", err)
	}
	server.stop(t)
}

func TestARevokedServerIsRefusedAndPartedFrom(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	service, listen, between, crl := serve(t, "tcp", echo), reserve(t), reserve(t), newCRLIssuer(t, p)
	server := startServer(t, p, between, service.address, "--allow-all")
	client := start(t, append([]string{
		"client", "--listen", listen, "--target", between, "--cacert", p.root, "--crl", crl.path, "--crl-close-revoked",
	}, p.client(t).flags()...)...)
	open := dial(t, "tcp", listen)
	if err := echoes(open); err != nil {
		t.Fatal(err)
	}

	crl.revoke(filepath.Join(p.dir, "server.pem"))
	crl.publish()
	if n, err := open.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from a revoked server", n)
	}
	client.waitLine(t, "closed pipe", "reason=revoked")
	if err := echoes(dial(t, "tcp", listen)); err == nil {
		t.Error("the revoked server answers")
	}
	client.waitLine(t, "error on TLS handshake", "reason=revoked")
	client.stop(t)
	server.stop(t)
}

// Without a list that is good, nobody can be told from the revoked.
func TestListsThatAreNotGoodRefuseAndTheNextOneHeals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, reason string
		publish      func(*crlIssuer, *testing.T)
	}{
		{"expired", "crl_expired", func(c *crlIssuer, _ *testing.T) {
			c.publish("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z")
		}},
		{"not yet valid", "crl_invalid", func(c *crlIssuer, _ *testing.T) {
			c.publish("-crl_lastupdate", "20990101000000Z", "-crl_nextupdate", "20990102000000Z")
		}},
		{"of a namesake CA", "crl_invalid", func(c *crlIssuer, t *testing.T) {
			other := newCRLIssuer(t, newPKI(t))
			list, err := os.ReadFile(other.path)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, c.path, list)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			service, listen, crl := serve(t, "tcp", echo), reserve(t), newCRLIssuer(t, p)
			test.publish(crl, t)
			server := startServer(t, p, listen, service.address, "--allow-all", "--crl", crl.path)
			client := newTLSClient(p, listen, p.client(t).Identity, 0)
			if _, err := client.connect(t); err == nil {
				t.Error("let in")
			}
			server.waitLine(t, "error on TLS handshake", "reason="+test.reason)
			if n := service.connections(); n != 0 {
				t.Errorf("the target has seen %d connections", n)
			}

			crl.publish()
			server.waitLine(t, "msg=reloaded")
			conn, err := client.connect(t)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			server.stop(t)
		})
	}
}

func TestUnusableListsEndTheStart(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	crl := newCRLIssuer(t, p)
	list, err := os.ReadFile(crl.path)
	if err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(crl.dir, "truncated.pem")
	writeFile(t, truncated, list[:len(list)/2])
	for path, want := range map[string]string{
		truncated:                       "truncated",
		p.root:                          "no CRL in it",
		filepath.Join(p.dir, "missing"): "no such file",
	} {
		code, _, stderr := run(t, serverLine(t, p, reserve(t), "127.0.0.1:1", "--allow-all", "--crl", path)...)
		if code != 1 || !containsAll(stderr, []string{"sallyport: --crl " + path + ": ", want}) {
			t.Errorf("%s: exit code %d, %s", path, code, stderr)
		}
	}
}

// TestKubernetesVolumesAreReloaded updates a volume as a kubelet does, by one
// rename of a link, and sends no signal.
func TestKubernetesVolumesAreReloaded(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	service, listen, volume := serve(t, "tcp", echo), reserve(t), t.TempDir()
	update := func(generation int) *devpki.Identity {
		t.Helper()
		id := p.issue(t, "renewed", devpki.Request{CommonName: fmt.Sprint(generation), DNSNames: []string{"localhost"}})
		dir := fmt.Sprintf("..generation-%d", generation)
		if err := os.Mkdir(filepath.Join(volume, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(volume, dir, "tls.crt"), id.CertPEM())
		writeFile(t, filepath.Join(volume, dir, "tls.key"), id.KeyPEM())
		link := filepath.Join(volume, "..data_tmp")
		if err := errors.Join(os.Symlink(dir, link), os.Rename(link, filepath.Join(volume, "..data"))); err != nil {
			t.Fatal(err)
		}
		return id.Identity
	}
	update(1)
	cert, key := filepath.Join(volume, "tls.crt"), filepath.Join(volume, "tls.key")
	if err := errors.Join(os.Symlink("..data/tls.crt", cert), os.Symlink("..data/tls.key", key)); err != nil {
		t.Fatal(err)
	}
	server := start(t, "server", "--listen", listen, "--target", service.address, "--allow-all",
		"--cacert", p.root, "--cert", cert, "--key", key, "--status", "http://"+reserve(t))
	client := newTLSClient(p, listen, p.client(t).Identity, 0)
	client.config.ClientSessionCache = nil
	for generation := 2; generation <= 4; generation++ {
		want := update(generation)
		server.waitLines(t, generation-1, "msg=reloaded")
		conn, err := client.connect(t)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().PeerCertificates[0]; !got.Equal(want.Leaf) {
			t.Errorf("serves %s, want %s", got.Subject, want.Leaf.Subject)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Join(volume, fmt.Sprintf("..generation-%d", generation-1))); err != nil {
			t.Fatal(err)
		}
	}
	if failed := server.lines("reload failed"); len(failed) > 0 {
		t.Errorf("log: %q", failed)
	}
	server.stop(t)
}
