package tests

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// crossroads is a process whose one listener has routes to several services.
type crossroads struct {
	*process

	pki    *pki
	listen string
	file   string // the configuration
	text   string
}

// says is a service that tells its name, in brackets, and is done: what openssl prints meanwhile may be around it.
func says(name string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, "<"+name+">\n")
		_ = conn.(halfCloser).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}
}

// newCrossroads starts a process with routes to a, for alice, to twin, for her too, to b, for bob, and to open,
// for everybody. Each has a certificate of its own. Other is a target for all other names; "" refuses them.
func newCrossroads(t *testing.T, other string, keys ...string) *crossroads {
	t.Helper()
	c := &crossroads{pki: newPKI(t), listen: reserve(t)}
	var text strings.Builder
	fmt.Fprintf(&text, "tunnels:\n- name: shops\n  mode: server\n  listen: %s\n  cacert: %s\n", c.listen, c.pki.root)
	if other != "" {
		own := c.pki.server(t)
		fmt.Fprintf(&text, "  target: %s\n  cert: %s\n  key: %s\n  allow-cn: nobody\n", other, own.cert, own.key)
	}
	for _, key := range keys {
		fmt.Fprintf(&text, "  %s\n", key)
	}
	text.WriteString("  routes:\n")
	for _, route := range []struct{ name, access string }{
		{"a", "allow-cn: alice"}, {"twin", "allow-cn: alice"}, {"b", "allow-cn: bob"}, {"open", "disable-authentication: true"},
	} {
		id := c.pki.issue(t, route.name, devpki.Request{CommonName: route.name, DNSNames: []string{route.name + ".test", "*." + route.name + ".test"}})
		fmt.Fprintf(&text, "  - name: %s\n    server-name: [%[1]s.test, '*.%[1]s.test']\n    target: %s\n    cert: %s\n    key: %s\n    %s\n",
			route.name, serve(t, "tcp", says(route.name)).address, id.cert, id.key, route.access)
	}
	c.text, c.file = text.String(), filepath.Join(t.TempDir(), "sallyport.yaml")
	writeFile(t, c.file, []byte(c.text))
	c.process = start(t, "run", "--config", c.file, "--status", "http://"+reserve(t))
	return c
}

// ask asks for a name as somebody, or as nobody, and returns who answers.
func (c *crossroads) ask(t *testing.T, name string, who ...files) (string, error) {
	t.Helper()
	config := c.pki.clientConfig(who...)
	config.ServerName = name
	conn, err := handshake(t.Context(), c.listen, config)
	if err != nil {
		return "", err
	}
	bound(t, conn)
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.Trim(line, "<>\n"), err
}

// TestTheNameDecidesIdentityAccessAndTarget, in the sandbox that is on by itself.
func TestTheNameDecidesIdentityAccessAndTarget(t *testing.T) {
	t.Parallel()
	c := newCrossroads(t, serve(t, "tcp", says("other")).address)
	alice := c.pki.issue(t, "alice", devpki.Request{CommonName: "alice"})
	bob := c.pki.issue(t, "bob", devpki.Request{CommonName: "bob"})
	nobody := c.pki.issue(t, "nobody", devpki.Request{CommonName: "nobody"})
	for _, test := range []struct {
		name, asked string
		who         []files
		answer      string // "": refused
	}{
		{"alice at a", "a.test", []files{alice}, "a"},
		{"alice below a", "x.a.test", []files{alice}, "a"},
		{"in capitals", "A.Test", []files{alice}, "a"},
		{"alice at her other one", "twin.test", []files{alice}, "twin"},
		{"alice at b", "b.test", []files{alice}, ""},
		{"bob at b", "b.test", []files{bob}, "b"},
		{"bob at a", "a.test", []files{bob}, ""},
		{"alice where all may", "open.test", []files{alice}, "open"},
		{"without a certificate where all may", "open.test", nil, "open"},
		{"without a certificate at a", "a.test", nil, ""},
		{"elsewhere", "localhost", []files{nobody}, "other"},
		{"alice elsewhere", "localhost", []files{alice}, ""},
	} {
		if answer, err := c.ask(t, test.asked, test.who...); answer != test.answer || (err == nil) != (test.answer != "") {
			t.Errorf("%s: %q, %v; want %q", test.name, answer, err, test.answer)
		}
	}
	c.waitLine(t, "closed pipe", "route=a", "identity=alice", "server_name=x.a.test")
	c.waitLine(t, "closed pipe", "route=default", "identity=nobody")
	c.waitLine(t, "error on TLS handshake", "route=b", "identity=alice", "reason=not_allowed")
	_, text := c.status.get(t, "/metrics")
	for _, want := range []string{
		`sallyport_route_connections_total{outcome="forwarded",route="a",tunnel="shops"} 3`,
		`sallyport_route_connections_total{outcome="failed",route="b",tunnel="shops"} 1`,
		`sallyport_route_connections_open{route="open",tunnel="shops"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no metric %s in\n%s", want, text)
		}
	}
	c.stop(t)
}

// TestOpenSSLIsToldThatANameIsUnknown where the tunnel has no target of its own.
func TestOpenSSLIsToldThatANameIsUnknown(t *testing.T) {
	t.Parallel()
	c := newCrossroads(t, "")
	alice := c.pki.issue(t, "alice", devpki.Request{CommonName: "alice"})
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		for _, name := range []string{"-servername\x00c.test", "-servername\x00a.b.a.test", "-noservername"} {
			args := append([]string{"s_client", version, "-connect", c.listen, "-cert", alice.cert, "-key", alice.key}, strings.Split(name, "\x00")...)
			out, _ := exec.CommandContext(t.Context(), need(t, "openssl"), args...).CombinedOutput() // its exit code is that of the alert
			if !strings.Contains(string(out), "unrecognized name") {
				t.Errorf("openssl %q:\n%s", args, out)
			}
		}
	}
	c.waitLines(t, 6, "error on TLS handshake", "reason=unrecognized_name")
	if answer, err := c.ask(t, "a.test", alice); err != nil || answer != "a" {
		t.Errorf("alice at a: %q, %v", answer, err)
	}
	c.stop(t)
}

// TestOpenSSLTakesNoSessionElsewhere: a session of a is offered to the other routes, with keys of the process's own and with
// keys that replicas share.
func TestOpenSSLTakesNoSessionElsewhere(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "tickets.keys")
	writeFile(t, keys, []byte(strings.Repeat("0123456789abcdef", 4)+"\n"))
	for kind, more := range map[string][]string{"own keys": nil, "shared keys": {"session-ticket-keys: " + keys}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCrossroads(t, serve(t, "tcp", says("other")).address, more...)
			alice := c.pki.issue(t, "alice", devpki.Request{CommonName: "alice"})
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				session := filepath.Join(t.TempDir(), "session")
				visit := func(name string, args ...string) string {
					all := append([]string{
						"s_client", version, "-ign_eof", "-connect", c.listen, "-servername", name, "-CAfile", c.pki.root, "-cert", alice.cert, "-key", alice.key,
					}, args...)
					out, _ := exec.CommandContext(t.Context(), need(t, "openssl"), all...).CombinedOutput()
					return string(out)
				}
				if out := visit("a.test", "-sess_out", session); !strings.Contains(out, "\nNew, TLS") || !strings.Contains(out, "<a>") {
					t.Fatalf("%s: the first visit:\n%s", version, out)
				}
				if out := visit("a.test", "-sess_in", session); !strings.Contains(out, "\nReused, TLS") || !strings.Contains(out, "<a>") {
					t.Errorf("%s: coming back:\n%s", version, out)
				}
				for name, answer := range map[string]string{"twin.test": "twin", "open.test": "open", "b.test": "", "localhost": ""} {
					out := visit(name, "-sess_in", session)
					if strings.Contains(out, "\nReused, TLS") {
						t.Errorf("%s: the session of a.test goes on at %s:\n%s", version, name, out)
					}
					if entered := strings.Contains(out, "<"+answer+">"); answer != "" && !entered {
						t.Errorf("%s: no way to %s:\n%s", version, name, out)
					}
					if answer == "" && !strings.Contains(out, "alert bad certificate") {
						t.Errorf("%s: alice is not refused at %s:\n%s", version, name, out)
					}
				}
			}
			c.stop(t)
		})
	}
}

// TestOpenSSLIsShownTheIdentityThatItCanUse of several.
func TestOpenSSLIsShownTheIdentityThatItCanUse(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	ecdsa := p.issue(t, "ecdsa", devpki.Request{CommonName: "ecdsa", DNSNames: []string{"a.test"}})
	rsa := p.issue(t, "rsa", devpki.Request{CommonName: "rsa", DNSNames: []string{"a.test"}, Key: devpki.RSA2048})
	wild := p.issue(t, "wild", devpki.Request{CommonName: "wild", DNSNames: []string{"*.test"}})
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	writeFile(t, file, fmt.Appendf(nil, "tunnels:\n- name: web\n  mode: server\n  listen: %s\n  target: %s\n  cacert: %s\n  disable-authentication: true\n"+
		"  cert: %s\n  key: %s\n  identities:\n  - keystore: %s\n  - {cert: %s, key: %s}\n",
		listen, serve(t, "tcp", says("web")).address, p.root, rsa.cert, rsa.key, wild.combined, ecdsa.cert, ecdsa.key))
	server := start(t, "run", "--config", file, "--status", "http://"+reserve(t))
	for _, test := range []struct {
		name  string
		args  []string
		shown string
	}{
		{"a.test", nil, "ecdsa"},
		{"a.test", []string{"-sigalgs", "RSA-PSS+SHA256"}, "rsa"},
		{"a.test", []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}, "rsa"},
		{"a.test", []string{"-groups", "X448:X25519"}, "ecdsa"}, // which takes a second ClientHello
		{"b.test", nil, "wild"},
		{"c.example", nil, "rsa"},
	} {
		args := append([]string{"s_client", "-ign_eof", "-connect", listen, "-servername", test.name, "-CAfile", p.root}, test.args...)
		out, err := exec.CommandContext(t.Context(), need(t, "openssl"), args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "subject=CN = "+test.shown+"\n") || !strings.Contains(string(out), "<web>") {
			t.Errorf("%s %q: %v, want to be shown %s:\n%s", test.name, test.args, err, test.shown, out)
		}
	}
	server.stop(t)
}

// TestARoutesFilesAndRulesAreReloaded: its certificate when the file changes, its access rules when the configuration does.
func TestARoutesFilesAndRulesAreReloaded(t *testing.T) {
	t.Parallel()
	c := newCrossroads(t, "")
	alice := c.pki.issue(t, "alice", devpki.Request{CommonName: "alice"})
	serial := func(name string) string {
		config := c.pki.clientConfig(alice)
		config.ServerName = name
		conn, err := handshake(t.Context(), c.listen, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
	}
	before, twin := serial("a.test"), serial("twin.test")
	c.pki.issue(t, "a", devpki.Request{CommonName: "a", DNSNames: []string{"a.test"}})
	eventually(t, "the new certificate of a", func() bool { return serial("a.test") != before })
	if serial("twin.test") != twin {
		t.Error("the certificate of the other route has changed, too")
	}

	if _, err := c.ask(t, "b.test", alice); err == nil {
		t.Error("alice came to b before she may")
	}
	writeFile(t, c.file, []byte(strings.Replace(c.text, "allow-cn: bob", "allow-cn: [bob, alice]", 1)))
	c.signal(t, syscall.SIGHUP)
	eventually(t, "alice comes to b", func() bool {
		answer, err := c.ask(t, "b.test", alice)
		return err == nil && answer == "b"
	})
	c.waitLine(t, "closed pipe", "route=b")
	// What was counted before the tunnel was replaced counts on.
	_, text := c.status.get(t, "/metrics")
	if match := regexp.MustCompile(`sallyport_route_connections_total\{outcome="forwarded",route="a",tunnel="shops"\} (\d+)`).FindStringSubmatch(text); match == nil || match[1] == "0" {
		t.Errorf("the connections of a are forgotten: %q in\n%s", match, text)
	}
	c.stop(t)
}

// TestRequestsStayOnTheirRoute: a client of HTTP/2 that takes one connection for all names of a certificate is sent away with
// those of other routes, and each name comes to its service all the same.
func TestRequestsStayOnTheirRoute(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	id := p.issue(t, "shops", devpki.Request{CommonName: "shops", DNSNames: []string{"a.test", "b.test"}})
	answers := func(name string) string {
		return serve(t, "tcp", func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(name), name)
			}
		}).address
	}
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	writeFile(t, file, fmt.Appendf(nil, "tunnels:\n- name: shops\n  mode: server\n  protocol: http\n  listen: %s\n  cert: %s\n  key: %s\n  disable-authentication: true\n"+
		"  routes:\n  - {name: a, server-name: a.test, target: '%s'}\n  - {name: b, server-name: b.test, target: '%s'}\n",
		listen, id.cert, id.key, answers("a"), answers("b")))
	server := start(t, "run", "--config", file, "--status", "http://"+reserve(t))

	get := func(client *http.Client, url, host string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.ProtoMajor != 2 {
			t.Errorf("the answer is of %s", response.Proto)
		}
		return response.StatusCode, string(body)
	}
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: p.Pool()},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listen)
		},
	}}
	defer client.CloseIdleConnections()
	for _, name := range []string{"a", "b"} {
		if code, body := get(client, "https://"+name+".test/", ""); code != http.StatusOK || body != name {
			t.Errorf("%s.test: %d %q", name, code, body)
		}
	}
	if code, body := get(client, "https://a.test/", "b.test"); code != http.StatusMisdirectedRequest {
		t.Errorf("b.test by the connection of a.test: %d %q", code, body)
	}
	if code, body := get(client, "https://a.test/", "c.test"); code != http.StatusOK || body != "a" {
		t.Errorf("what no route has the name of, by the connection of a.test: %d %q", code, body)
	}
	server.waitLine(t, "msg=request", "route=b", "host=b.test")
	server.waitLine(t, `msg="request failed"`, "route=a", "host=b.test", "reason=misdirected_request")
	server.stop(t)
}

// TestARouteGoesOnWithoutOneOfItsTargets, of which it has a group of its own.
func TestARouteGoesOnWithoutOneOfItsTargets(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	id := p.issue(t, "shops", devpki.Request{CommonName: "shops", DNSNames: []string{"a.test"}})
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	writeFile(t, file, fmt.Appendf(nil, "tunnels:\n- name: shops\n  mode: server\n  listen: %s\n  cert: %s\n  key: %s\n  disable-authentication: true\n"+
		"  target: %s\n  routes:\n  - {name: a, server-name: a.test, target: ['%s', '%s'], balance: round-robin}\n",
		listen, id.cert, id.key, serve(t, "tcp", says("other")).address, reserve(t), serve(t, "tcp", says("a")).address))
	c := &crossroads{process: start(t, "run", "--config", file, "--status", "http://"+reserve(t)), pki: p, listen: listen}
	for range 10 {
		if answer, err := c.ask(t, "a.test"); err != nil || answer != "a" {
			t.Errorf("a.test: %q, %v", answer, err)
		}
	}
	_, text := c.status.get(t, "/metrics")
	if want := `sallyport_route_connections_total{outcome="forwarded",route="a",tunnel="shops"} 10` + "\n"; !strings.Contains(text, want) {
		t.Errorf("no metric %s in\n%s", want, text)
	}
	c.stop(t)
}

// TestTargetsOfRoutesAreMeasuredEach has a target alone in one route, and among several in another: a scrape has it once, and
// another route's does not count for it.
func TestTargetsOfRoutesAreMeasuredEach(t *testing.T) {
	t.Parallel()
	both, other, gone := serve(t, "tcp", echo).address, serve(t, "tcp", echo).address, reserve(t)
	m := newMany(t)
	m.write(t, fmt.Sprintf("- name: x\n  mode: server\n  listen: %s\n  target: %s\n  routes:\n"+
		"  - {name: a, server-name: a.test, target: ['%s', '%s']}\n  - {name: b, server-name: b.test, target: '%s'}\n",
		reserve(t), both, both, other, gone))
	m.run(t)
	m.status.get(t, "/healthz")
	for target, want := range map[string]float64{both: 1, other: 1, gone: 0} {
		if up := metricOf(t, m.process, `sallyport_target_up{target="`+target+`",tunnel="x"}`); up != want {
			t.Errorf("sallyport_target_up of %s is %v, want %v", target, up, want)
		}
	}
}
