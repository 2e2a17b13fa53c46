package sidecar

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/config"
	"sallyport/devpki"
	"sallyport/socket"
)

// name serves a listener until the test ends: each connection is told a name.
func name(t *testing.T, path, name string) {
	t.Helper()
	ln := listen(t, path)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_, _ = io.WriteString(c, name+"\n")
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
}

// withRoutes is a server that sends a.test to the target a and b.test to b, which has another CA, and lets client in at both;
// what else there is goes to the target out, and only by somebody called nobody.
func withRoutes(t *testing.T) (dir string, cfg *config.Sidecar) {
	t.Helper()
	dir = newDir(t)
	other := dir + "/other"
	if err := devpki.Init(other, devpki.FileOptions{}); err != nil {
		t.Fatal(err)
	}
	for at, names := range map[string][]string{dir: {"a"}, other: {"b", "client"}} {
		for _, name := range names {
			if err := devpki.IssueInto(at, name, devpki.FileOptions{DNSNames: []string{name + ".test"}, Force: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, one := range []string{"a", "b", "out"} {
		name(t, dir+"/"+one, one)
	}
	cfg = parse(t, dir, serverLine+"--allow-cn nobody")
	tunnel := &cfg.Tunnels[0]
	route := func(name, target, pki string) *config.Route {
		r := config.Route{Name: name, ServerNames: []string{name + ".test"}, Tunnel: *tunnel}
		r.Access = config.Access{CommonNames: []string{"client"}}
		r.Identity = config.Identity{Cert: pki + "/" + name + ".pem", Key: pki + "/" + name + "-key.pem"}
		r.CACert = pki + "/ca.pem"
		at, err := socket.ParseAddress("unix:" + dir + "/" + target)
		if err != nil {
			t.Fatal(err)
		}
		r.Upstream = config.Upstream{Targets: []config.Target{{Address: at, Weight: 1}}}
		return &r
	}
	tunnel.Routes = []config.Route{*route("a", "a", dir), *route("b", "b", other)}
	return dir, cfg
}

// reach asks for a name as somebody of a PKI, and returns who answers.
func reach(t *testing.T, dir, pki, name string) (answer string, _ error) {
	t.Helper()
	socket, err := net.Dial("unix", dir+"/in")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	config := tlsConfig(t, pki, "client")
	config.ServerName = name
	c := tls.Client(socket, config)
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func TestEachRouteHasItsIdentityTrustAccessAndTarget(t *testing.T) {
	t.Parallel()
	dir, cfg := withRoutes(t)
	r := startWith(t, dir, cfg)
	for _, test := range []struct{ pki, asked, answer, wrong string }{
		{pki: dir, asked: "a.test", answer: "a"},
		{pki: dir + "/other", asked: "b.test", answer: "b"},
		{pki: dir, asked: "localhost", wrong: "bad certificate"}, // which goes to nobody alone
		{pki: dir + "/other", asked: "localhost", wrong: "unknown authority"},
		{pki: dir, asked: "b.test", wrong: "unknown authority"},
		{pki: dir, asked: "c.test", wrong: "is valid for"},
	} {
		answer, err := reach(t, dir, test.pki, test.asked)
		if test.wrong == "" && (err != nil || answer != test.answer) {
			t.Errorf("%s: %q, %v", test.asked, answer, err)
		}
		if test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s: %q, %v; want %s", test.asked, answer, err, test.wrong)
		}
	}
	a := r.status(t)
	if !a.OK {
		t.Errorf("status: %+v", a)
	}
	held := make(map[string]int)
	for _, c := range a.Certificates {
		held[c.Route+" "+c.Role]++
	}
	if held[" identity"] != 1 || held["a identity"] != 1 || held["b identity"] != 1 || held["a ca"] != 0 || held["b ca"] != 1 {
		t.Errorf("certificates: %v", held)
	}
	for _, want := range []string{
		`sallyport_route_connections_total{outcome="forwarded",route="a",tunnel="server"} 1`,
		`sallyport_route_connections_total{outcome="failed",route="default",tunnel="server"}`,
		`sallyport_route_connections_open{route="b",tunnel="server"} 0`,
	} {
		// The client has left by now, which the tunnel may have yet to see.
		eventually(t, func() bool { return strings.Contains(r.metrics(t), want) }, func() string { return "no metric " + want })
	}
}

// metrics is what Prometheus would get.
func (r *rig) metrics(t *testing.T) string {
	t.Helper()
	response, err := r.http().Get("http://status/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWithoutATargetOfItsOwnATunnelRefusesOtherNames(t *testing.T) {
	t.Parallel()
	dir, cfg := withRoutes(t)
	own := &cfg.Tunnels[0]
	own.Upstream, own.Identity, own.Access = config.Upstream{}, config.Identity{}, config.Access{}
	r := startWith(t, dir, cfg)
	if answer, err := reach(t, dir, dir, "a.test"); err != nil || answer != "a" {
		t.Errorf("a.test: %q, %v", answer, err)
	}
	if _, err := reach(t, dir, dir, "c.test"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("c.test: %v", err)
	}
	r.waitLog(t, "reason=unrecognized_name", 1)
	if a := r.status(t); !a.OK {
		t.Errorf("status: %+v", a)
	}
}

func TestARouteThatFailsToReloadKeepsNoOtherFromIt(t *testing.T) {
	t.Parallel()
	dir, cfg := withRoutes(t)
	cfg.WatchFiles = false // signals alone
	r := startWith(t, dir, cfg)
	serials := func() map[string]string {
		found := make(map[string]string)
		for _, c := range r.status(t).Certificates {
			if c.Role == "identity" {
				found[c.Route] = c.Serial
			}
		}
		return found
	}
	before := serials()
	if err := os.WriteFile(dir+"/a-key.pem", []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := devpki.IssueInto(dir+"/other", "b", devpki.FileOptions{DNSNames: []string{"b.test"}, Force: true}); err != nil {
		t.Fatal(err)
	}
	r.signals <- syscall.SIGHUP
	r.waitLog(t, "reload failed", 1)
	if failure := r.status(t).LastReloadError; !strings.Contains(failure, "route a: --key "+dir+"/a-key.pem") {
		t.Errorf("the failure is %q", failure)
	}
	after := serials()
	if after["a"] != before["a"] || after["b"] == before["b"] || after[""] != before[""] {
		t.Errorf("serials: %v, then %v", before, after)
	}
	for pki, asked := range map[string]string{dir: "a", dir + "/other": "b"} {
		if answer, err := reach(t, dir, pki, asked+".test"); err != nil || answer != asked {
			t.Errorf("%s: %q, %v", asked, answer, err)
		}
	}
}

func TestATargetOfARouteThatIsDownIsTold(t *testing.T) {
	t.Parallel()
	dir, cfg := withRoutes(t)
	if err := os.Remove(dir + "/b"); err != nil {
		t.Fatal(err)
	}
	r := startWith(t, dir, cfg)
	if a := r.status(t); a.OK || a.BackendOK || !strings.HasPrefix(a.BackendError, "route b: ") {
		t.Errorf("status: %+v", a)
	}
}

func TestANameThatNoCertificateIsForIsWarnedOf(t *testing.T) {
	t.Parallel()
	dir, cfg := withRoutes(t)
	cfg.Tunnels[0].Routes[0].ServerNames = []string{"a.test", "*.a.test"}
	r := startWith(t, dir, cfg)
	r.waitLog(t, `level=WARN msg="no certificate of the route is for a name that it serves; clients will refuse it" tunnel=server route=a server_names=*.a.test`, 1)
}

// TestARoutesOwnListDecidesWhoIsParted from: a client that comes by another route, whose CA has no list, stays.
func TestARoutesOwnListDecidesWhoIsParted(t *testing.T) {
	t.Parallel()
	dir, cfg := withRoutes(t)
	other := dir + "/other"
	ca, err := devpki.LoadCA(other)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(number int64, revoked ...x509.RevocationListEntry) {
		t.Helper()
		now := time.Now()
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour), RevokedCertificateEntries: revoked,
		}, ca.Certificate(), ca.Key())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/b.crl", der, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	publish(1)
	tunnel := &cfg.Tunnels[0]
	tunnel.CloseRevoked = true
	tunnel.Routes[1].CRLs = []string{dir + "/b.crl"}
	r := startWith(t, dir, cfg)
	open := func(pki, name string) *tls.Conn {
		t.Helper()
		socket, err := net.Dial("unix", dir+"/in")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = socket.Close() })
		config := tlsConfig(t, pki, "client")
		config.ServerName = name
		c := tls.Client(socket, config)
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 2)); err != nil { // its name, and it says no more
			t.Fatal(err)
		}
		return c
	}
	stays, goes := open(dir, "a.test"), open(other, "b.test")
	block, _ := pem.Decode(must(os.ReadFile(other + "/client.pem")))
	client := must(x509.ParseCertificate(block.Bytes))
	publish(2, x509.RevocationListEntry{SerialNumber: client.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	r.signals <- syscall.SIGHUP
	r.waitLog(t, `msg="closed connections of peers that are revoked" tunnel=server connections=1`, 1)
	if _, err := goes.Read(make([]byte, 1)); err == nil {
		t.Error("who is revoked goes on")
	}
	if _, err := io.WriteString(stays, "still here"); err != nil {
		t.Error(err)
	}
	if open, _, _ := (*r.sidecar.fleet.roster.Load())[0].tunnel.routes.all[0].forward.Traffic.Counts(); open != 1 {
		t.Errorf("%d connections by the other route are open", open)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestRoutesThatCannotBeLoadedAreToldByTheirPlace in the file, and leave nothing open.
func TestRoutesThatCannotBeLoadedAreToldByTheirPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, route, want string }{
		{"identity", "cert: @/none.pem, key: @/server-key.pem", "8:44: cert @/none.pem: "},
		{"trust", "cacert: @/none.pem", "8:44: cacert @/none.pem: "},
		{"policy", "allow-policy: @/none.rego, allow-query: data.a.b", "8:44: allow-policy @/none.rego: "},
		{"policy beside an identity", "allow-policy: @/none.rego, allow-query: data.a.b, cert: @/client.pem, key: @/client-key.pem", "8:44: allow-policy @/none.rego: "},
		{"target", "target: 'absent.invalid:80', unsafe-target: true", "8:44: target absent.invalid:80: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			path := writeConfig(t, dir, `
defaults: {cert: @/server.pem, key: @/server-key.pem, cacert: @/ca.pem, allow-cn: nobody, target: "unix:@/out"}
tunnels:
- name: web
  mode: server
  listen: "unix:@/in"
  routes:
  - {name: first, server-name: first.test, `+test.route+`}
`)
			s, err := New(t.Context(), parse(t, dir, "run --config "+path), Build{}, new(syncBuffer))
			if err == nil {
				t.Fatal(s.close())
			}
			if want := path + ":" + strings.ReplaceAll(test.want, "@", dir); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}
