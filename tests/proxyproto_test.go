package tests

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/devpki"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// elsewhere is an address of this machine that nothing else connects from.
var elsewhere = netip.AddrFrom4([4]byte{127, 0, 0, 5})

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, from netip.Addr, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	bound(t, conn)
	return conn
}

// ask sends an HTTP request, returns the body of the answer and closes the
// connection.
func ask(t *testing.T, conn net.Conn) string {
	t.Helper()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %q, error %v", answer.Status, body, err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// startHAProxy starts an HAProxy with the proxies of a configuration and waits
// until it accepts connections at address.
func startHAProxy(t *testing.T, address, proxies string) *process {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	writeFile(t, conf, []byte(`
global
	log stdout format raw local0
defaults
	log global
	timeout connect 60s
	timeout client 60s
	timeout server 60s
`+proxies))
	p := startPeer(t, "haproxy", "-db", "-f", conf)
	accepting(t, "tcp", address)
	return p
}

// startVarnish starts a Varnish that wants PROXY headers and answers with what
// they tell.
func startVarnish(t *testing.T, address string) {
	t.Helper()
	dir := t.TempDir()
	vcl := filepath.Join(dir, "default.vcl")
	writeFile(t, vcl, []byte(`vcl 4.1;
		import proxy;
		import std;
		backend default none;
		sub vcl_recv { return (synth(200)); }
		sub vcl_synth {
			set resp.body = "" + client.ip + ":" + std.port(client.ip) + " to " + server.ip + ":" + std.port(server.ip)
				+ ", " + proxy.ssl_version() + ", for " + proxy.authority() + ", CN " + proxy.client_cert_cn()
				+ ", certificate " + proxy.client_has_cert_sess() + "/" + proxy.client_has_cert_conn() + "/" + proxy.ssl_verify_result();
			return (deliver);
		}
	`))
	startPeer(t, "varnishd", "-F", "-a", address+",PROXY", "-f", vcl, "-n", filepath.Join(dir, "n"), "-j", "none", "-s", "malloc,10m",
		"-p", "workspace_session=16k") // where it keeps a certificate
	accepting(t, "tcp", address)
}

// TestPeersSeeTheClientByPROXYHeaders has servers that know the protocol tell
// from where and to where a client of server mode has connected, and as whom.
func TestPeersSeeTheClientByPROXYHeaders(t *testing.T) {
	t.Parallel()
	const ends = "%[1]s to %[2]s"
	peers := map[string]struct {
		start func(t *testing.T, address string)
		wants map[string]string // by mode
	}{
		"haproxy": {
			func(t *testing.T, address string) {
				startHAProxy(t, address, fmt.Sprintf(`
frontend shown
	mode http
	bind %s accept-proxy
	http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] to %%[dst]:%%[dst_port], for %%[fc_pp_authority]"
`, address))
			},
			map[string]string{"conn": ends + ", for ", "tls": ends + ", for localhost", "tls-full": ends + ", for localhost"},
		},
		"nginx": {
			func(t *testing.T, address string) {
				startNginx(t, address, httpBlock(`listen %s proxy_protocol; location / {
					return 200 "$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_addr:$proxy_protocol_server_port"; }`, address))
			},
			map[string]string{"conn": ends, "tls": ends, "tls-full": ends},
		},
		"varnish": {
			startVarnish,
			map[string]string{
				"conn":     ends + ", , for , CN , certificate false/false/0",
				"tls":      ends + ", TLS 1.3, for localhost, CN , certificate false/false/0",
				"tls-full": ends + ", TLS 1.3, for localhost, CN client, certificate true/true/0",
			},
		},
	}
	for name, peer := range peers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := reserve(t)
			peer.start(t, backend)
			for mode, want := range peer.wants {
				p, listen := newPKI(t), reserve(t)
				flags := []string{"--allow-cn", "client", "--proxy-protocol-mode", mode, "--target-status", "http://localhost/"}
				if mode == "conn" {
					flags = append(flags[:2:2], "--proxy-protocol")
				}
				server := startServer(t, p, listen, backend, flags...)
				conn := dialFrom(t, elsewhere, listen)
				session := tls.Client(conn, p.clientConfig(p.client(t)))
				if got, want := ask(t, session), fmt.Sprintf(want, conn.LocalAddr(), listen); got != want {
					t.Errorf("%s: %q, want %q", mode, got, want)
				}
				if code, body := server.status.get(t, "/healthz"); code != http.StatusOK {
					t.Errorf("%s: the backend check: %d %s", mode, code, body)
				}
				server.stop(t)
			}
		})
	}
}

// TestPROXYHeaderToTheByte reads what a target is sent before anything else.
func TestPROXYHeaderToTheByte(t *testing.T) {
	t.Parallel()
	const signature = "0D0A0D0A000D0A515549540A"
	hexadecimal := func(text string) string { return fmt.Sprintf("%X", text) }
	endsOf := func(client, listen net.Addr) string {
		from, to := client.(*net.TCPAddr).AddrPort(), listen.(*net.TCPAddr).AddrPort()
		return fmt.Sprintf("%X%X%04X%04X", from.Addr().AsSlice(), to.Addr().AsSlice(), from.Port(), to.Port())
	}
	tests := []struct {
		name    string
		network string
		host    netip.Addr
		every   bool // it listens on every interface, of both families
		family  string
		ends    func(client, listen net.Addr) string
	}{
		{"IPv4", "tcp", loopback[0], false, "11", endsOf},
		{"IPv6", "tcp", loopback[1], false, "21", endsOf},
		{"IPv4 among others", "tcp", loopback[0], true, "11", endsOf},
		{"IPv6 among others", "tcp", loopback[1], true, "21", endsOf},
		{"UNIX", "unix", netip.Addr{}, false, "31", func(_, listen net.Addr) string {
			path := hexadecimal(listen.String())
			return strings.Repeat("00", 108) + path + strings.Repeat("00", 108-len(path)/2)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			handle, received := record()
			service := serve(t, "unix", handle)
			p := newPKI(t)
			var listen, address string
			switch {
			case tt.network == "unix":
				address = filepath.Join(t.TempDir(), "listen")
				listen = "unix:" + address
			case tt.every:
				address = reserveOn(t, tt.host)
				listen = ":" + port(t, address)
			default:
				address = reserveOn(t, tt.host)
				listen = address
			}
			server := startServer(t, p, listen, service.address, "--allow-all", "--proxy-protocol-mode", "tls-full")
			conn := dial(t, tt.network, address)
			id := p.client(t)
			session := tls.Client(conn, p.clientConfig(id))
			if _, err := io.WriteString(session, "and what the client says"); err != nil {
				t.Fatal(err)
			}
			if err := session.Close(); err != nil {
				t.Fatal(err)
			}
			got := hexadecimal(string(receive(t, "what the target got", received)))
			about := fmt.Sprintf("0700000000"+"210007%s"+"220006%s"+"28%04X%X", hexadecimal("TLS 1.3"), hexadecimal("client"), len(id.Leaf.Raw), id.Leaf.Raw)
			body := tt.ends(conn.LocalAddr(), conn.RemoteAddr()) + "020009" + hexadecimal("localhost") + fmt.Sprintf("20%04X", len(about)/2) + about
			want := signature + "21" + tt.family + fmt.Sprintf("%04X", len(body)/2) + body + hexadecimal("and what the client says")
			if got != want {
				t.Errorf("the target got\n\t%s, want\n\t%s", got, want)
			}
			server.stop(t)
		})
	}
}

// TestPROXYHeaderWithTheClientsCertificate has go-proxyproto read the header,
// on a resumed session too.
func TestPROXYHeaderWithTheClientsCertificate(t *testing.T) {
	t.Parallel()
	headers := make(chan *proxyproto.Header, 2)
	service := serve(t, "tcp", func(conn net.Conn) {
		buffered := bufio.NewReader(conn)
		header, err := proxyproto.Read(buffered)
		if err != nil {
			return
		}
		headers <- header
		_, _ = io.Copy(conn, buffered) // the client sees the end as well
	})
	p, listen := newPKI(t), reserve(t)
	id := p.client(t)
	server := startServer(t, p, listen, service.address, "--allow-all", "--proxy-protocol-mode", "tls-full")
	config := p.clientConfig(id)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		conn := connect(t, listen, config)
		if err := roundTrip(conn); err != nil {
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume != resumed {
			t.Fatalf("resumed: %v", !resumed)
		}
		header := receive(t, "a PROXY header", headers)
		if header.SourceAddr.String() != conn.LocalAddr().String() || header.DestinationAddr.String() != listen {
			t.Errorf("from %v to %v", header.SourceAddr, header.DestinationAddr)
		}
		tlvs, err := header.TLVs()
		if err != nil {
			t.Fatal(err)
		}
		about, ok := tlvparse.FindSSL(tlvs)
		name, _ := about.ClientCN()
		version, _ := about.SSLVersion()
		der, _ := about.ClientCert()
		if !ok || !about.Verified() || about.Client != 7 || name != "client" || version != "TLS 1.3" || !bytes.Equal(der, id.Leaf.Raw) {
			t.Errorf("resumed %v: %+v", resumed, about)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	server.stop(t)
}

// TestAClientThatCannotBeAnnouncedIsNotForwarded has a certificate that is
// longer than a header can be.
func TestAClientThatCannotBeAnnouncedIsNotForwarded(t *testing.T) {
	t.Parallel()
	handle, received := record()
	service := serve(t, "tcp", handle)
	p, listen := newPKI(t), reserve(t)
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("name-%020d.example", i))
	}
	server := startServer(t, p, listen, service.address, "--allow-all", "--proxy-protocol-mode", "tls-full")
	id := p.issue(t, "long", devpki.Request{CommonName: "long", DNSNames: names})
	if attempt(t, listen, p.clientConfig(id)) == nil {
		t.Error("it was forwarded")
	}
	server.waitLine(t, "error on announcing", "announce_failed", "longer than 65535 bytes")
	if got := receive(t, "what the target got", received); len(got) > 0 {
		t.Errorf("the target got %d bytes", len(got))
	}
	server.stop(t)
}

// TestProxiesInFrontShowThrough has the address of a client pass through a
// proxy in front, which tells it by a header, to the target, which is told by
// another.
func TestProxiesInFrontShowThrough(t *testing.T) {
	t.Parallel()
	haproxy := func(how string) func(t *testing.T, front, back string) {
		return func(t *testing.T, front, back string) {
			startHAProxy(t, front, fmt.Sprintf(`
listen through
	mode tcp
	bind %s
	server sallyport %s %s
`, front, back, how))
		}
	}
	fronts := map[string]func(t *testing.T, front, back string){
		"haproxy v1":            haproxy("send-proxy"),
		"haproxy v2":            haproxy("send-proxy-v2"),
		"haproxy with checksum": haproxy("send-proxy-v2 proxy-v2-options crc32c,unique-id"),
		"haproxy with TLVs":     haproxy("send-proxy-v2-ssl-cn"),
		"nginx": func(t *testing.T, front, back string) {
			startNginx(t, front, fmt.Sprintf(`stream { server { listen %s; proxy_pass %s; proxy_protocol on; } }`, front, back))
		},
	}
	backend := reserve(t)
	startNginx(t, backend, httpBlock(`listen %s proxy_protocol; location / {
		return 200 "$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_addr:$proxy_protocol_server_port"; }`, backend))
	for name, start := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, front, listen := newPKI(t), reserve(t), reserve(t)
			policy := filepath.Join(t.TempDir(), "p.rego")
			writeFile(t, policy, []byte(fmt.Sprintf("package access\nallow { input.remote_ip == %q }\n", elsewhere)))
			server := startServer(t, p, listen, backend, "--allow-policy", policy, "--allow-query", "data.access.allow",
				"--proxy-protocol-in", "127.0.0.1", "--proxy-protocol")
			start(t, front, listen)

			conn := dialFrom(t, elsewhere, front)
			session := tls.Client(conn, p.clientConfig(p.client(t)))
			if got, want := ask(t, session), fmt.Sprintf("%s to %s", conn.LocalAddr(), front); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			server.waitLine(t, "closed pipe", "remote="+conn.LocalAddr().String())

			// The policy knows the client apart from the proxy.
			if err := attempt(t, front, p.clientConfig(p.client(t))); err == nil {
				t.Error("a client was let in from the wrong address")
			}
			server.waitLine(t, "policy_denied", "remote="+loopback[0].String())
			server.stop(t)
		})
	}
}

// TestHAProxyChecksThroughItsHeader has HAProxy find out whether sallyport is
// up, by connections that speak for nobody, and then forward to it.
func TestHAProxyChecksThroughItsHeader(t *testing.T) {
	t.Parallel()
	p, front, listen := newPKI(t), reserve(t), reserve(t)
	service := serve(t, "tcp", echo)
	server := startServer(t, p, listen, service.address, "--allow-all", "--proxy-protocol-in", "127.0.0.1", "--log-level", "debug")
	startHAProxy(t, front, fmt.Sprintf(`
listen through
	mode tcp
	bind %s
	server sallyport %s send-proxy-v2 check inter 100ms
`, front, listen))
	server.waitLine(t, "client_abort") // a header, and no more
	if err := attempt(t, front, p.clientConfig(p.client(t))); err != nil {
		t.Error(err)
	}
	if lines := server.lines("proxy_header"); len(lines) > 0 {
		t.Errorf("headers are refused: %q", lines)
	}
	server.stop(t)
}

// TestClientModeBehindHAProxy has the plain listener of client mode know who
// is behind a proxy.
func TestClientModeBehindHAProxy(t *testing.T) {
	t.Parallel()
	p, front, listen := newPKI(t), reserve(t), reserve(t)
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	client := startClient(t, p, listen, service.address, "--proxy-protocol-in", "127.0.0.0/8")
	startHAProxy(t, front, fmt.Sprintf(`
listen through
	mode tcp
	bind %s
	server sallyport %s send-proxy-v2
`, front, listen))
	conn := dialFrom(t, elsewhere, front)
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	if _, body := client.status.get(t, "/_connections"); !strings.Contains(body, fmt.Sprintf("%q", conn.LocalAddr())) {
		t.Errorf("/_connections does not show %s: %s", conn.LocalAddr(), body)
	}
	if err := conn.(halfCloser).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
		t.Errorf("%q, error %v", rest, err)
	}
	client.waitLine(t, "closed pipe", "remote="+conn.LocalAddr().String(), "reason=eof")
	client.stop(t)
}

// headers2 is a header of version 2 for 203.0.113.7:54321 to
// 198.51.100.99:8443, and header1 one of version 1.
const (
	header1 = "PROXY TCP4 203.0.113.7 198.51.100.99 54321 8443\r\n"
	header2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x63\xd4\x31\x20\xfb"
)

// TestHeadersThatBreakTheProtocol are each refused with a reason, in both
// modes and within the time of a handshake.
func TestHeadersThatBreakTheProtocol(t *testing.T) {
	t.Parallel()
	attacks := map[string]struct {
		send   string
		slowly bool
		listed bool
		reason string
	}{
		"none":                   {"GET / HTTP/1.1\r\n\r\n", false, true, "proxy_header_missing"},
		"not allowed, version 1": {header1, false, false, "proxy_header_not_allowed"},
		"not allowed, version 2": {header2, false, false, "proxy_header_not_allowed"},
		"oversized":              {"PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", false, true, "proxy_header_invalid"},
		"lying about its length": {header2[:14] + "\x00\x0b" + header2[16:], false, true, "proxy_header_invalid"},
		"announcing too much":    {header2[:14] + "\xff\xff" + header2[16:], true, true, "timeout"},
		"a TLV beyond the end":   {header2[:14] + "\x00\x0f" + header2[16:] + "\x01\xff\xff", false, true, "proxy_header_invalid"},
		"a wrong checksum":       {header2[:14] + "\x00\x13" + header2[16:] + "\x03\x00\x04\x00\x00\x00\x00", false, true, "proxy_header_invalid"},
		"unfinished":             {header1[:20], true, true, "timeout"},
		"nothing":                {"", true, true, "timeout"},
	}
	for _, mode := range []string{"server", "client"} {
		for name, attack := range attacks {
			t.Run(mode+", "+name, func(t *testing.T) {
				t.Parallel()
				p, listen := newPKI(t), reserve(t)
				flags := []string{"--proxy-protocol-in", "192.0.2.0/24"}
				if attack.listed {
					flags[1] = "127.0.0.1"
				}
				flags = append(flags, "--connect-timeout", "1s")
				handle, received := record()
				var tunnel *process
				if mode == "server" {
					tunnel = startServer(t, p, listen, serve(t, "tcp", handle).address, append(flags, "--allow-all")...)
				} else {
					service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), handle))
					tunnel = startClient(t, p, listen, service.address, flags...)
				}
				started := time.Now() // the tunnel's clock begins when it accepts, which may be before we hear of it
				conn := dial(t, "tcp", listen)
				if _, err := io.WriteString(conn, attack.send); err != nil {
					t.Fatal(err)
				}
				if answer, _ := io.ReadAll(conn); mode == "client" && len(answer) > 0 { // however it ends
					t.Errorf("the answer is %q", answer)
				}
				if took := time.Since(started); attack.slowly && took < time.Second {
					t.Errorf("it was closed after %v", took)
				}
				tunnel.waitLine(t, "reason="+attack.reason)
				tunnel.stop(t)
				select {
				case got := <-received:
					if len(got) > 0 {
						t.Errorf("the target got %q", got)
					}
				default:
				}
			})
		}
	}
}

// TestHeadersOverUNIXSockets takes headers from local peers, which have no
// address, and refuses them where that was not asked for.
func TestHeadersOverUNIXSockets(t *testing.T) {
	t.Parallel()
	p, path := newPKI(t), filepath.Join(t.TempDir(), "listen")
	service := serve(t, "tcp", overTLS(p.targetConfig(p.server(t)), echo))
	client := startClient(t, p, "unix:"+path, service.address, "--proxy-protocol-in", "unix")
	conn := dial(t, "unix", path)
	for i := range header2 { // as slowly as one can
		if _, err := io.WriteString(conn, header2[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := roundTrip(conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	client.waitLine(t, "closed pipe", "remote=203.0.113.7:54321")
	client.stop(t)

	code, _, stderr := run(t, "client", "--listen", "unix:"+path, "--target", service.address, "--disable-authentication", "--proxy-protocol-in", "::/0")
	if want := "sallyport: --proxy-protocol-in: peers over unix:" + path + " have no address; write --proxy-protocol-in unix\n"; code != 2 || stderr != want {
		t.Errorf("code %d, %q, want 2, %q", code, stderr, want)
	}
}

// TestCheckTellsOfPROXYHeaders reads the report of sallyport check.
func TestCheckTellsOfPROXYHeaders(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	id := p.server(t)
	code, report, stderr := run(t, append(id.flags(), "check", "server", "--listen", "localhost:8443", "--target", "localhost:8080", "--cacert", p.root, "--allow-all",
		"--proxy-protocol-in", "10.0.0.0/8", "--proxy-protocol-in", "2001:db8::1", "--proxy-protocol-mode", "tls-full")...)
	for _, line := range []string{
		"  PROXY header required from 10.0.0.0/8, 2001:db8::1/128, refused from others",
		"  PROXY header sent to the target: v2, tls-full",
	} {
		if !slices.Contains(strings.Split(report, "\n"), line) {
			t.Errorf("no line %q in the report, code %d:\n%s%s", line, code, report, stderr)
		}
	}
}
