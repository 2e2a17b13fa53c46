package tests

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

// TestReloadServesTheNewCertificateAndKeepsConnections replaces the files of a
// server that has a connection open.
func TestReloadServesTheNewCertificateAndKeepsConnections(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		flags []string
		sig   syscall.Signal // 0: none
	}{
		{"SIGHUP", nil, syscall.SIGHUP},
		{"SIGUSR1", nil, syscall.SIGUSR1},
		{"timed", []string{"--timed-reload", "50ms"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			server := startServer(t, p, listen, serve(t, "tcp", echo).address, append(test.flags, "--allow-all")...)
			config := p.clientConfig(p.client(t))
			open := connect(t, listen, config)
			if err := roundTrip(open); err != nil {
				t.Fatal(err)
			}

			renewed := p.server(t)
			if test.sig != 0 {
				server.signal(t, test.sig)
			}
			eventually(t, "new connections see the new certificate", func() bool {
				return shown(t, listen, config).Equal(renewed.Leaf)
			})
			if err := exchange(open, 1, 1<<20, 4096); err != nil {
				t.Errorf("the connection from before: %v", err)
			}
			eventually(t, "the status tells of the reload", func() bool {
				_, r := server.status.report(t)
				return !r.LastReload.IsZero() && !r.LastReloadSuccess.IsZero() && r.LastReloadError == "" &&
					len(r.Certificates) > 0 && r.Certificates[0].Serial == renewed.Leaf.SerialNumber.Text(16)
			})
			server.stop(t)
		})
	}
}

func TestReloadInClientModeShowsTheTargetTheNewCertificate(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	seen := make(chan *x509.Certificate, 16)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), func(conn net.Conn) {
		seen <- conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		echo(conn)
	}))
	client := startClient(t, p, listen, service.address)
	open := dial(t, "tcp", listen)
	if err := roundTrip(open); err != nil {
		t.Fatal(err)
	}
	first := receive(t, "the target's first connection", seen)

	renewed := p.client(t)
	client.signal(t, syscall.SIGHUP)
	client.waitLine(t, "msg=reloaded")
	if err := roundTrip(dial(t, "tcp", listen)); err != nil {
		t.Fatal(err)
	}
	if second := receive(t, "the target's second connection", seen); second.Equal(first) || !second.Equal(renewed.Leaf) {
		t.Errorf("the target saw serial %x, want the renewed certificate's %x", second.SerialNumber, renewed.Leaf.SerialNumber)
	}
	if err := roundTrip(open); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
}

// TestReloadThatRemovesTrustRefusesResumedSessions has a client hold a session
// ticket from the time when its CA was trusted.
func TestReloadThatRemovesTrustRefusesResumedSessions(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			p, former, listen := newPKI(t), newPKI(t), reserve(t)
			writeFile(t, p.root, append(p.PEM(), former.PEM()...))
			service := serve(t, "tcp", echo)
			server := startServer(t, p, listen, service.address, "--allow-all")

			config := p.clientConfig(former.client(t))
			config.MaxVersion = version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
			for range 2 {
				if err := attempt(t, listen, config); err != nil {
					t.Fatal(err)
				}
			}
			resumed := connect(t, listen, config)
			if err := roundTrip(resumed); err != nil || !resumed.ConnectionState().DidResume {
				t.Fatalf("resumed %v, %v; the test needs a session that can be", resumed.ConnectionState().DidResume, err)
			}
			if err := resumed.Close(); err != nil {
				t.Fatal(err)
			}
			before := service.connections()

			writeFile(t, p.root, p.PEM())
			server.signal(t, syscall.SIGHUP)
			server.waitLine(t, "msg=reloaded")
			for range 2 {
				if attempt(t, listen, config) == nil {
					t.Error("a client of the CA that is trusted no longer was let in")
				}
			}
			server.waitLines(t, 2, "error on TLS handshake", "reason=unknown_ca")
			if n := service.connections(); n != before {
				t.Errorf("the target has seen %d connections after the reload", n-before)
			}
			if err := attempt(t, listen, p.clientConfig(p.client(t))); err != nil {
				t.Errorf("a client of the CA that is trusted still: %v", err)
			}
			server.stop(t)
		})
	}
}

// TestReloadOfUnusableFilesKeepsWhatServes damages one file after the other:
// what was loaded before serves on, the log says so once, and so does the
// status, until the file is good again.
func TestReloadOfUnusableFilesKeepsWhatServes(t *testing.T) {
	t.Parallel()
	const password = "s3cret-passw0rd"
	garbage := []byte("this is no certificate\n")
	half := func(data []byte) []byte { return data[:len(data)/2] }

	type fault struct {
		name string
		data []byte // nil: no file
	}
	for _, test := range []struct {
		flag string
		// prepare returns the file, flags for the identity, how to put good and
		// new material in place, and what may be wrong with it.
		prepare func(t *testing.T, p *pki) (path string, flags []string, renew func() *x509.Certificate, faults []fault)
	}{
		{"--cert", func(t *testing.T, p *pki) (string, []string, func() *x509.Certificate, []fault) {
			t.Helper()
			id := p.server(t)
			return id.cert, id.flags(), func() *x509.Certificate { return p.server(t).Leaf }, []fault{
				{"garbage", garbage},
				{"truncated", half(id.CertPEM())},
				{"another key's", p.client(t).CertPEM()},
				{"empty", []byte{}},
				{"missing", nil},
			}
		}},
		{"--key", func(t *testing.T, p *pki) (string, []string, func() *x509.Certificate, []fault) {
			t.Helper()
			id := p.server(t)
			return id.key, id.flags(), func() *x509.Certificate { return p.server(t).Leaf }, []fault{
				{"garbage", garbage},
				{"truncated", half(id.KeyPEM())},
				{"another certificate's", p.client(t).KeyPEM()},
				{"empty", []byte{}},
				{"missing", nil},
			}
		}},
		{"--keystore", func(t *testing.T, p *pki) (string, []string, func() *x509.Certificate, []fault) {
			t.Helper()
			path := filepath.Join(p.dir, "server.p12")
			encode := func(id files, password string) []byte {
				data, err := id.PKCS12(password)
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			id := p.server(t)
			writeFile(t, path, encode(id, password))
			renew := func() *x509.Certificate {
				id := p.server(t)
				writeFile(t, path, encode(id, password))
				return id.Leaf
			}
			return path, []string{"--keystore", path, "--storepass", password}, renew, []fault{
				{"garbage", garbage},
				{"truncated", half(encode(id, password))},
				{"another password's", encode(id, "wrong")},
				{"expired", encode(p.issue(t, "expired", devpki.Request{
					CommonName: "expired",
					NotBefore:  time.Now().Add(-48 * time.Hour),
					NotAfter:   time.Now().Add(-24 * time.Hour),
				}), password)},
				{"empty", []byte{}},
				{"missing", nil},
			}
		}},
		{"--cacert", func(t *testing.T, p *pki) (string, []string, func() *x509.Certificate, []fault) {
			t.Helper()
			renew := func() *x509.Certificate {
				writeFile(t, p.root, p.PEM())
				return p.server(t).Leaf
			}
			id, more := p.server(t), newPKI(t).PEM()
			return p.root, id.flags(), renew, []fault{
				{"garbage", garbage},
				{"truncated", half(p.PEM())},
				{"truncated behind a whole certificate", append(p.PEM(), half(more)...)},
				{"a key", id.KeyPEM()},
				{"empty", []byte{}},
				{"missing", nil},
			}
		}},
	} {
		t.Run(test.flag, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			path, identity, renew, faults := test.prepare(t, p)
			current := renew()
			server := start(t, append(identity, "server", "--listen", listen, "--target", serve(t, "tcp", echo).address,
				"--cacert", p.root, "--allow-all", "--status", "http://"+reserve(t))...)
			config := p.clientConfig(p.client(t))
			open := connect(t, listen, config)

			for i, fault := range faults {
				if fault.data == nil {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				} else {
					writeFile(t, path, fault.data)
				}
				server.signal(t, syscall.SIGHUP)
				line := server.waitLines(t, i+1, "level=ERROR", "reload failed")[i]
				if !strings.Contains(line, test.flag+" "+path) {
					t.Errorf("%s: logged %q, want %s %s named", fault.name, line, test.flag, path)
				}
				if got := shown(t, listen, config); !got.Equal(current) {
					t.Errorf("%s: serial %x is served, want that from before, %x", fault.name, got.SerialNumber, current.SerialNumber)
				}
				eventually(t, "the status tells that the reload failed", func() bool {
					_, r := server.status.report(t)
					return r.OK && r.Message == "listening" && strings.Contains(r.LastReloadError, test.flag+" "+path) &&
						r.LastReload.After(r.LastReloadSuccess)
				})

				current = renew()
				server.signal(t, syscall.SIGHUP)
				server.waitLines(t, i+1, "msg=reloaded")
				if got := shown(t, listen, config); !got.Equal(current) {
					t.Errorf("after %s: serial %x is served, want the good file's, %x", fault.name, got.SerialNumber, current.SerialNumber)
				}
				eventually(t, "the status tells that the reload went well", func() bool {
					_, r := server.status.report(t)
					return r.OK && r.LastReloadError == "" && !r.LastReloadSuccess.Before(r.LastReload)
				})
			}
			if err := exchange(open, 1, 1000, 1000); err != nil {
				t.Errorf("the connection from before: %v", err)
			}
			server.stop(t)
			if errs := server.lines("level=ERROR"); len(errs) != len(faults) {
				t.Errorf("%d errors are logged for %d failures:\n%s", len(errs), len(faults), strings.Join(errs, "\n"))
			}
			if strings.Contains(server.stdout.String(), password) {
				t.Error("the log shows the password")
			}
		})
	}
}

// TestReloadsUnderLoadFailNoHandshake reloads again and again, good files and
// bad, while clients come and go.
func TestReloadsUnderLoadFailNoHandshake(t *testing.T) {
	t.Parallel()
	reloads := 20
	if full() {
		reloads = 500
	}
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all")
	config := p.clientConfig(p.client(t))

	var stopped atomic.Bool
	var connections atomic.Int64
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stopped.Store(true)
	for range 8 {
		clients.Go(func() {
			for !stopped.Load() {
				conn, err := handshake(t.Context(), listen, config)
				if err != nil {
					t.Errorf("handshake: %v", err)
					return
				}
				if err := errors.Join(roundTrip(conn), conn.Close()); err != nil {
					t.Error(err)
					return
				}
				connections.Add(1)
			}
		})
	}
	good, bad := 0, 0
	for i := range reloads {
		id := p.server(t)
		if i%4 == 3 {
			writeFile(t, id.key, bytes.Repeat([]byte("-"), i))
			server.signal(t, syscall.SIGHUP)
			bad++
			server.waitLines(t, bad, "reload failed")
		} else {
			server.signal(t, syscall.SIGUSR1)
			good++
			server.waitLines(t, good, "msg=reloaded")
		}
		// Some come after each reload.
		since := connections.Load()
		eventually(t, "clients connect after a reload", func() bool { return connections.Load() > since+8 || t.Failed() })
	}
	stopped.Store(true)
	clients.Wait()
	if failed := server.lines("error on TLS handshake"); len(failed) > 0 {
		t.Errorf("handshakes failed:\n%s", strings.Join(failed, "\n"))
	}
	server.stop(t)
}
