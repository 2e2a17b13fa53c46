package tests

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/devpki"
)

// How the proxies below know alice.
const (
	proxyPassword = "Pr0xy-word"
	aliceAt       = "alice:" + proxyPassword + "@"
	aliceWrongly  = "alice:Wr0ng-word@"
)

// startTinyproxy starts a tinyproxy, with more lines of its configuration, and
// returns where it is.
func startTinyproxy(t *testing.T, lines string) string {
	t.Helper()
	need(t, "tinyproxy")
	address, conf := reserve(t), filepath.Join(t.TempDir(), "tinyproxy.conf")
	writeFile(t, conf, fmt.Appendf(nil, "Listen 127.0.0.1\nPort %s\nTimeout 600\n%s\n", port(t, address), lines))
	startPeer(t, "tinyproxy", "-d", "-c", conf)
	accepting(t, "tcp", address)
	return address
}

// startSquid starts a squid that listens as its configuration says, with the
// address in place of ADDRESS.
func startSquid(t *testing.T, lines string) string {
	t.Helper()
	need(t, "squid")
	address, conf := reserve(t), filepath.Join(t.TempDir(), "squid.conf")
	writeFile(t, conf, []byte(strings.ReplaceAll(lines, "ADDRESS", address)+`
		visible_hostname squid.test
		pid_filename none
		pinger_enable off
		cache deny all
		access_log none
		cache_log /dev/null
		logfile_rotate 0
	`))
	startPeer(t, "squid", "-N", "-f", conf)
	accepting(t, "tcp", address)
	return address
}

// startDante starts a dante that asks nobody who they are.
func startDante(t *testing.T) string {
	t.Helper()
	need(t, "danted")
	address, conf := reserve(t), filepath.Join(t.TempDir(), "danted.conf")
	writeFile(t, conf, fmt.Appendf(nil, `
		logoutput: stderr
		internal: 127.0.0.1 port = %s
		external: 127.0.0.1
		clientmethod: none
		socksmethod: none
		user.unprivileged: nobody
		client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
		socks block { from: 0.0.0.0/0 to: 0.0.0.0/0 port = 9 }
		socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
	`, port(t, address)))
	dante := startPeer(t, "danted", "-f", conf)
	t.Cleanup(func() { // it ends its children, which it would leave behind if it were killed
		_ = dante.cmd.Process.Signal(syscall.SIGTERM)
		<-dante.done
	})
	accepting(t, "tcp", address)
	return address
}

// startMicrosocks starts a SOCKS5 server that wants to know who asks.
func startMicrosocks(t *testing.T) string {
	t.Helper()
	address := reserve(t)
	startPeer(t, "microsocks", "-i", "127.0.0.1", "-p", port(t, address), "-u", "alice", "-P", proxyPassword)
	accepting(t, "tcp", address)
	return address
}

// squidForAlice is a squid that lets nobody else pass, and her not to port 9.
const squidForAlice = `
	http_port ADDRESS
	auth_param basic program /bin/sed -u -e "s/^alice Pr0xy-word$/OK/" -e t -e "s/.*/ERR/"
	acl known proxy_auth REQUIRED
	acl discard port 9
	http_access deny discard
	http_access allow known
	http_access deny all
`

// TestUpstreamProxies goes through real ones, in the sandbox, to a
// target that is not resolved here. The status port's check takes the same way.
func TestUpstreamProxies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, scheme, user string
		start              func(*testing.T) string
		flag               string
	}{
		{"tinyproxy", "http", "", func(t *testing.T) string { return startTinyproxy(t, "") }, "--proxy"},
		{"tinyproxy, who asks", "http", aliceAt, func(t *testing.T) string { return startTinyproxy(t, "BasicAuth alice "+proxyPassword) }, "--proxy"},
		{"squid", "http", "", func(t *testing.T) string { return startSquid(t, "http_port ADDRESS\nhttp_access allow all") }, "--connect-proxy"},
		{"squid, who asks", "http", aliceAt, func(t *testing.T) string { return startSquid(t, squidForAlice) }, "--proxy"},
		{"dante", "socks5", "", startDante, "--proxy"},
		{"dante, to somebody whom it does not ask", "socks5h", aliceAt, startDante, "--proxy"},
		{"microsocks, who asks", "socks5", aliceAt, startMicrosocks, "--proxy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
			proxy := test.start(t)
			client := startClient(t, p, listen, service.address, test.flag, test.scheme+"://"+test.user+proxy)
			if err := through(t, listen); err != nil {
				t.Error(err)
			}
			if err := exchange(dial(t, "tcp", listen), 1, 4<<20, 100_000); err != nil {
				t.Error(err)
			}
			if code, report := client.status.report(t); code != http.StatusOK {
				t.Errorf("the status says %d: %s", code, report.BackendError)
			}
			client.waitLine(t, "opening pipe", "target="+service.address)
			client.waitLine(t, "listening", "proxy=", "://"+proxy)
			client.stop(t)
		})
	}
}

// TestUpstreamProxiesThatFail has real ones refuse, or fail.
func TestUpstreamProxiesThatFail(t *testing.T) {
	t.Parallel()
	const toDiscard = "127.0.0.1:9"
	for _, test := range []struct {
		name, scheme, user string
		start              func(*testing.T) string
		target             string // "": one that is down
		reason             string
		says               []string
	}{
		{"tinyproxy without a user", "http", "", func(t *testing.T) string { return startTinyproxy(t, "BasicAuth alice "+proxyPassword) }, "", "proxy_auth", []string{"407", "--proxy-auth-file"}},
		{"squid with a wrong password", "http", aliceWrongly, func(t *testing.T) string { return startSquid(t, squidForAlice) }, "", "proxy_auth", []string{"407", "does not take this user"}},
		{"tinyproxy with a wrong password", "http", aliceWrongly, func(t *testing.T) string { return startTinyproxy(t, "BasicAuth alice "+proxyPassword) }, "", "proxy_auth", []string{"401", "does not take this user"}},
		{"microsocks without a user", "socks5", "", startMicrosocks, "", "proxy_auth", []string{"--proxy-auth-file"}},
		{"microsocks with a wrong password", "socks5", aliceWrongly, startMicrosocks, "", "proxy_auth", []string{"does not take this user"}},
		{"tinyproxy against its rules", "http", "", func(t *testing.T) string { return startTinyproxy(t, "ConnectPort 443") }, toDiscard, "proxy_refused", []string{"403", "the rules of the proxy"}},
		{"squid against its rules", "http", aliceAt, func(t *testing.T) string { return startSquid(t, squidForAlice) }, toDiscard, "proxy_refused", []string{"403", "the rules of the proxy"}},
		{"dante against its rules", "socks5", "", startDante, toDiscard, "proxy_refused", []string{"the rules of the proxy"}},
		{"squid to a target that is down", "http", aliceAt, func(t *testing.T) string { return startSquid(t, squidForAlice) }, "", "proxy_bad_gateway", []string{"503", "cannot reach the target"}},
		{"dante to a target that is down", "socks5", "", startDante, "", "proxy_bad_gateway", []string{"refuses the proxy's connection"}},
		{"nobody", "http", "", reserve, "", "proxy_unreachable", []string{"connection refused"}},
		{"a SOCKS5 proxy taken for HTTP", "http", "", startDante, "", "proxy_error", nil},
		{"an HTTP proxy taken for HTTPS", "https", "", func(t *testing.T) string { return startSquid(t, "http_port ADDRESS\nhttp_access allow all") }, "", "proxy_tls", []string{"TLS handshake with the proxy"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen, target := newPKI(t), reserve(t), test.target
			if target == "" {
				target = reserve(t)
			}
			proxy := test.start(t)
			client := startClient(t, p, listen, target, "--proxy", test.scheme+"://"+test.user+proxy)
			if err := through(t, listen); err == nil {
				t.Error("it went through")
			}
			says := append([]string{"reason=" + test.reason, "proxy " + test.scheme + "://" + proxy}, test.says...)
			client.waitLine(t, append(says, "error on dial")...)
			code, report := client.status.report(t)
			if code != http.StatusServiceUnavailable || !containsAll(report.BackendError, says[1:]) {
				t.Errorf("the status says %d: %s", code, report.BackendError)
			}
			if n := metricOf(t, client, `sallyport_dial_failures_total{reason="`+test.reason+`",target="`+target+`",tunnel="client"}`); n != 1 {
				t.Errorf("%s is counted %v times", test.reason, n)
			}
			client.stop(t)
		})
	}
}

// A connectProxy is an HTTP proxy of the test's own, which connects to one target
// whatever it is asked for.
type connectProxy struct {
	target string

	mu    sync.Mutex
	asked []string // the request lines
}

// handle serves a connection to the proxy.
func (p *connectProxy) handle(conn net.Conn) {
	from := bufio.NewReader(conn)
	request, err := http.ReadRequest(from)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, request.Method+" "+request.RequestURI)
	p.mu.Unlock()
	target, err := net.DialTimeout("tcp", p.target, patience)
	if err != nil {
		return
	}
	defer target.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, target) // the end of either is that of both
		_ = conn.Close()
	})
	_, _ = io.Copy(target, from)
	_ = target.(*net.TCPConn).CloseWrite()
	back.Wait()
}

// requests are the lines with which the proxy was asked so far.
func (p *connectProxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// TestProxyLooksUpTheTarget: its name has no address here, and need not have one
// at the start either. What the target's certificate is for counts as ever.
func TestProxyLooksUpTheTarget(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	target := p.issue(t, "hidden", devpki.Request{CommonName: "hidden", DNSNames: []string{unresolvable}})
	service := serve(t, "tcp", overTLS(p.targetConfig(target), echo))
	proxy := &connectProxy{target: service.address}
	at := serve(t, "tcp", proxy.handle)
	client := startClient(t, p, listen, unresolvable+":5432", "--proxy", "http://"+at.address)
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	if got := proxy.requests(); len(got) != 1 || got[0] != "CONNECT "+unresolvable+":5432" {
		t.Errorf("the proxy was asked %q", got)
	}
	client.waitLine(t, "opening pipe", "target="+unresolvable+":5432")
	client.stop(t)

	other := startClient(t, p, listen, "elsewhere.invalid:5432", "--proxy", "http://"+at.address)
	if err := through(t, listen); err == nil {
		t.Error("a target with a certificate for another name was taken")
	}
	other.waitLine(t, "error on TLS handshake", "reason=name_mismatch", "through proxy http://"+at.address)
	other.stop(t)
}

// TestHTTPSProxyKnowsWhoAsks has squid ask for certificates, and changes what is
// shown to it and whom it has to chain to.
func TestHTTPSProxyKnowsWhoAsks(t *testing.T) {
	t.Parallel()
	need(t, "squid")
	p, outer, listen := newPKI(t), newPKI(t), reserve(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	id := outer.server(t)
	shown := outer.issue(t, "shown", devpki.Request{CommonName: "shown", NotAfter: time.Now().Add(10 * 24 * time.Hour)})
	proxy := "https://" + startSquid(t, fmt.Sprintf(
		"https_port ADDRESS tls-cert=%s tls-key=%s clientca=%s\nhttp_access allow all", id.cert, id.key, outer.root))

	trusting := []string{"--proxy", proxy, "--proxy-cacert", outer.root, "--log-level", "debug"}
	client := startClient(t, p, listen, service.address, append(trusting, "--proxy-cert", shown.cert, "--proxy-key", shown.key)...)
	if err := exchange(dial(t, "tcp", listen), 1, 4<<20, 100_000); err != nil {
		t.Error(err)
	}
	code, report := client.status.report(t)
	if code != http.StatusOK {
		t.Errorf("the status says %d: %s", code, report.BackendError)
	}
	roles := map[string]string{}
	for _, c := range report.Certificates {
		roles[c.Role] = c.Serial
	}
	if roles["proxy_identity"] != shown.Leaf.SerialNumber.Text(16) || roles["proxy_ca"] == "" || roles["proxy_ca"] == roles["ca"] {
		t.Errorf("the status shows these certificates: %v", report.Certificates)
	}
	client.waitLine(t, "a certificate will expire soon", "role=proxy_identity", "CN=shown")
	// A pair that does not fit is refused, and the one before serves on.
	stranger := newPKI(t).client(t)
	replaceFile(t, shown.cert, stranger.CertPEM())
	client.waitLine(t, "reload failed", "--proxy-key "+shown.key, "--proxy-cert "+shown.cert)
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	// One that fits and that the proxy does not know is shown from then on.
	replaceFile(t, shown.key, stranger.KeyPEM())
	client.signal(t, syscall.SIGHUP)
	eventually(t, "the proxy refuses the other certificate", func() bool { return through(t, listen) != nil })
	client.stop(t)

	for name, test := range map[string]struct{ args, says []string }{
		"no certificate": {trusting, []string{"reason=proxy_", "proxy " + proxy}},
		"a proxy that the target's CA does not vouch for": {
			[]string{"--proxy", proxy, "--proxy-cacert", p.root}, []string{"reason=proxy_tls", "not signed by a trusted CA"},
		},
		"a proxy that the system does not know": {[]string{"--proxy", proxy}, []string{"reason=proxy_tls", "not signed by a trusted CA"}},
	} {
		client := startClient(t, p, listen, service.address, test.args...)
		if err := through(t, listen); err == nil {
			t.Errorf("%s: it went through", name)
		}
		client.waitLine(t, append(test.says, "error on dial")...)
		client.stop(t)
	}
}

// TestTargetMaySpeakFirst: what it says can come in one piece with the proxy's
// answer, and belongs to the tunnel.
func TestTargetMaySpeakFirst(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	config := p.targetConfig(p.server(t))
	at := serve(t, "tcp", func(conn net.Conn) {
		lines := bufio.NewReader(conn)
		if _, err := http.ReadRequest(lines); err != nil {
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n220 mail.test ESMTP\r\n"); err != nil {
			return
		}
		for _, answer := range []string{"250-mail.test\r\n250 STARTTLS\r\n", "220 go ahead\r\n"} {
			if _, err := lines.ReadString('\n'); err != nil {
				return
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
		overTLS(config, echo)(conn)
	})
	client := startClient(t, p, listen, "localhost:25", "--proxy", "http://"+at.address, "--starttls", "smtp")
	conn := dial(t, "tcp", listen)
	lines := bufio.NewReader(conn)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
		t.Errorf("greeted with %q, %v", line, err)
	}
	if _, err := io.WriteString(conn, "EHLO\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); err != nil || line != "EHLO\r\n" {
		t.Errorf("the target echoed %q, %v", line, err)
	}
	_ = conn.Close()
	if code, report := client.status.report(t); code != http.StatusOK {
		t.Errorf("the status says %d: %s", code, report.BackendError)
	}
	client.stop(t)
}

// TestSlowUpstreamProxies, that babble or that lie cost no more than
// --connect-timeout, and leave nothing behind.
func TestSlowUpstreamProxies(t *testing.T) {
	t.Parallel()
	babble := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
			}
		}
	}
	dribble := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for _, err := io.WriteString(conn, text); err == nil; _, err = io.WriteString(conn, "a: b\r\n") {
				<-again.C
			}
		}
	}
	say := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	for _, test := range []struct {
		name, scheme string
		handle       func(net.Conn)
		stage        string
		says         []string
	}{
		{"silent", "http", say(""), "error on dial", []string{"reason=timeout", "no complete answer in time"}},
		{"silent", "https", say(""), "error on dial", []string{"reason=timeout", "TLS handshake with the proxy"}},
		{"silent", "socks5", say(""), "error on dial", []string{"reason=timeout", "no complete answer in time"}},
		{"silent after the greeting", "socks5", say("\x05\x00"), "error on dial", []string{"reason=timeout"}},
		{"dribbling", "http", dribble("HTTP/1.1 200 OK\r\n"), "error on dial", []string{"reason=timeout"}},
		{"babbling", "http", babble("HTTP/1.1 100 Continue\r\n\r\n"), "error on dial", []string{"reason=proxy_error", "8192"}},
		{"babbling", "https", babble("HTTP/1.1 200 OK\r\n"), "error on dial", []string{"reason=proxy_tls"}},
		{"babbling", "socks5", babble("never "), "error on dial", []string{"reason=proxy_error", "not SOCKS 5"}},
		{"another protocol", "http", say("220 ftp.test ready\r\n"), "error on dial", []string{"reason=proxy_error", "220 ftp.test"}},
		{"a page of its own", "http", say("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<h1>Hello!</h1>"), "error on TLS handshake", []string{"reason=not_tls", "through proxy http://"}},
		{"silent in place of the target", "socks5", say("\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"), "error on TLS handshake", []string{"reason=timeout", "through proxy socks5://"}},
	} {
		t.Run(test.name+", "+test.scheme, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			at := serve(t, "tcp", test.handle)
			const many = 20
			limit := 500 * time.Millisecond
			if test.says[0] != "reason=timeout" {
				limit = patience // nobody has to wait for these
			}
			client := startClient(t, p, listen, "localhost:25", "--proxy", test.scheme+"://"+at.address, "--connect-timeout", limit.String(), "--enable-pprof")
			started := time.Now()
			var trying sync.WaitGroup
			for range many {
				trying.Go(func() {
					conn, err := net.DialTimeout("tcp", listen, patience)
					if err != nil {
						return // it was refused before it was there, which is as good
					}
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
				})
			}
			trying.Wait()
			if took := time.Since(started); took > patience {
				t.Errorf("took %v with a limit of %v", took, limit)
			}
			client.waitLines(t, many, append(test.says, test.stage)...)
			eventually(t, "no connection is left", func() bool {
				_, report := client.status.report(t)
				return report.Connections.Open == 0
			})
			eventually(t, "no goroutine is left", func() bool {
				_, stacks := client.status.get(t, "/debug/pprof/goroutine?debug=2")
				return !strings.Contains(stacks, "sallyport/socket.(*Proxy)") && !strings.Contains(stacks, "sallyport/proxy.(*conn)")
			})
			client.stop(t)
		})
	}
}

// TestDrainDoesNotWaitForAProxy that has been asked and says nothing.
func TestDrainDoesNotWaitForAProxy(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	asked := make(chan struct{}, 1)
	at := serve(t, "tcp", func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			asked <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	client := startClient(t, p, listen, "localhost:25", "--proxy", "http://"+at.address, "--connect-timeout", "1h", "--log-level", "debug")
	dial(t, "tcp", listen)
	receive(t, "the request to the proxy", asked)
	client.stop(t)
	client.waitLine(t, "error on dial", "reason=shutdown")
}

// TestCredentialsForTheProxyAreReloaded from their file, as soon as it changes,
// and a file that makes no sense changes nothing.
func TestCredentialsForTheProxyAreReloaded(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	proxy, file := startTinyproxy(t, "BasicAuth alice "+proxyPassword), filepath.Join(p.dir, "auth")
	writeFile(t, file, []byte("alice:Wr0ng-word\n"))
	client := startClient(t, p, listen, service.address, "--proxy", "http://"+proxy, "--proxy-auth-file", file)
	if err := through(t, listen); err == nil {
		t.Error("let through with a wrong password")
	}
	client.waitLine(t, "error on dial", "reason=proxy_auth")
	replaceFile(t, file, []byte("alice:"+proxyPassword+"\r\n"))
	client.waitLine(t, "msg=reloaded")
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	replaceFile(t, file, []byte(proxyPassword))
	client.waitLine(t, "reload failed", "--proxy-auth-file "+file, "write USER:PASSWORD")
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	client.stop(t)
}

// TestCredentialsForTheProxyAreShownNowhere, whether they work or not.
func TestCredentialsForTheProxyAreShownNowhere(t *testing.T) {
	t.Parallel()
	secrets := planted{"the URL": "Pl4nted-in-url-one", "the variable": "Pl4nted-variable-two", "the file": "Pl4nted-in-file-three"}
	p := newPKI(t)
	id := p.client(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	file := filepath.Join(p.dir, "auth")
	writeFile(t, file, []byte("alice:"+secrets["the file"]+"\n"))
	for from, password := range secrets {
		for works, known := range map[bool]string{true: password, false: "another"} {
			t.Run(fmt.Sprintf("%s, which is right: %t", from, works), func(t *testing.T) {
				t.Parallel()
				proxy, listen := startTinyproxy(t, "BasicAuth alice "+known), reserve(t)
				args := append(id.flags(), "client", "--listen", listen, "--target", service.address, "--cacert", p.root,
					"--status", "http://"+reserve(t), "--enable-pprof", "--log-level", "debug")
				var env []string
				switch from {
				case "the URL":
					args = append(args, "--proxy", "http://alice:"+password+"@"+proxy)
				case "the variable":
					env = []string{"SALLYPORT_PROXY=http://alice:" + password + "@" + proxy}
				default:
					args = append(args, "--proxy", "http://"+proxy, "--proxy-auth-file", file)
				}
				client := startUnready(t, env, args...)
				client.waitReady(t)
				if err := through(t, listen); (err == nil) != works {
					t.Error(err)
				}
				client.status.report(t)
				secrets.searchAll(t, client, "")
				client.stop(t)
			})
		}
	}
	for _, args := range [][]string{
		{"--proxy", "http://alice:" + secrets["the URL"] + "@p/path"},
		{"--proxy", "http://alice:" + secrets["the URL"] + "@p:port"},
		{"--proxy", "http://p", "--proxy-auth-file", file + ".none"},
	} {
		code, stdout, stderr := run(t, append(append(id.flags(), "client", "--listen", reserve(t), "--target", "a:1", "--skip-resolve", "--cacert", p.root), args...)...)
		if code == 0 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "sallyport: --proxy") {
			t.Errorf("%d, %q", code, stderr)
		}
		secrets.search(t, "what it prints", stdout+stderr)
	}
}

// TestNoProxyFromTheEnvironment: what other programs go by is not for this one.
func TestNoProxyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	nobody := "http://" + reserve(t)
	var env []string
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"} {
		env = append(env, name+"="+nobody)
	}
	client := startUnready(t, env, append(p.client(t).flags(), "client", "--listen", listen, "--target", service.address,
		"--cacert", p.root, "--status", "http://"+reserve(t))...)
	client.waitReady(t)
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	client.stop(t)
}

// TestHalfCloseGoesThroughTheProxy: an end of writing, and that of the
// other direction, pass the proxy as they would without it.
func TestHalfCloseGoesThroughTheProxy(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		p, listen := newPKI(t), reserve(t)
		service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), func(conn net.Conn) {
			data, err := io.ReadAll(conn) // ends when the client has ended its writing
			if err == nil {
				_, _ = fmt.Fprintf(conn, "%d bytes", len(data))
			}
			_ = conn.(*tls.Conn).CloseWrite()
		}))
		handle, args := (&connectProxy{target: service.address}).handle, []string(nil)
		if scheme == "https" {
			handle = overTLS(&tls.Config{Certificates: []tls.Certificate{p.server(t).TLSCertificate()}, NextProtos: []string{"h2", "http/1.1"}}, handle)
			args = []string{"--proxy-cacert", p.root}
		}
		at := serve(t, "tcp", handle)
		client := startClient(t, p, listen, service.address, append(args, "--proxy", scheme+"://"+at.address)...)
		conn := dial(t, "tcp", listen)
		if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := conn.(halfCloser).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "1048576 bytes" {
			t.Errorf("%s: %q, %v", scheme, got, err)
		}
		client.waitLine(t, "closed pipe", "reason=eof")
		client.stop(t)
	}
}

// TestCheckTellsOfTheProxy, and of what is wrong with what it needs.
func TestCheckTellsOfTheProxy(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	file := filepath.Join(p.dir, "auth")
	writeFile(t, file, []byte("alice:"+proxyPassword))
	args := append(p.client(t).flags(), "check", "client", "--listen", "localhost:1", "--target", unresolvable+":443", "--cacert", p.root)
	code, stdout, stderr := run(t, append(args, "--proxy", "https://localhost:3129", "--proxy-auth-file", file, "--proxy-cacert", p.root,
		"--proxy-cert", p.client(t).cert, "--proxy-key", p.client(t).key)...)
	if code != 0 || !containsAll(stdout, []string{"https://localhost:3129", "alice", "CN=client", "--proxy-cacert " + p.root}) || strings.Contains(stdout, proxyPassword) {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]string{
		{"--proxy", "http://localhost", "--proxy-auth-file", file},
		{"--proxy", "https://localhost", "--proxy-cacert", file},
		{"--proxy", "socks5://" + unresolvable + ":1080"},
	} {
		if code, _, stderr := run(t, append(args, wrong...)...); code != 2 || !strings.Contains(stderr, wrong[len(wrong)-2]+" "+wrong[len(wrong)-1]) {
			t.Errorf("%q: %d, %q", wrong, code, stderr)
		}
	}
}
