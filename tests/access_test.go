package tests

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"sallyport/devpki"
)

// alice and bob differ in every name that an access flag can ask for. Both may
// serve localhost.
var (
	alice = devpki.Request{
		CommonName:          "alice",
		OrganizationalUnits: []string{"operations"},
		DNSNames:            []string{"localhost", "alice.test"},
		IPs:                 append([]netip.Addr{netip.MustParseAddr("192.0.2.1")}, loopback...),
		URIs:                []string{"spiffe://test/team/alice"},
	}
	bob = devpki.Request{
		CommonName:          "bob",
		OrganizationalUnits: []string{"development"},
		DNSNames:            []string{"localhost", "bob.test"},
		IPs:                 append([]netip.Addr{netip.MustParseAddr("192.0.2.2")}, loopback...),
		URIs:                []string{"spiffe://test/other/bob"},
	}
)

// forAlice are access flags that let in alice and not bob; --allow- or --verify-
// is to go before each name.
var forAlice = []struct {
	name  string
	flags []string // pairs of the flag's last part and its value
}{
	{"cn", []string{"cn", "alice"}},
	{"ou", []string{"ou", "operations"}},
	{"dns", []string{"dns", "alice.test"}},
	{"dns-san", []string{"dns-san", "alice.test"}},
	{"uri", []string{"uri", "spiffe://test/team/alice"}},
	{"uri with *", []string{"uri", "spiffe://test/team/*"}},
	{"uri with **", []string{"uri-san", "spiffe://test/team/**"}},
	{"ip", []string{"ip", "192.0.2.1"}},
	{"the second of one kind", []string{"cn", "nobody", "cn", "alice"}},
	{"the second of two kinds", []string{"dns", "nobody.test", "ou", "operations"}},
}

func withPrefix(prefix string, flags []string) []string {
	var out []string
	for i := 0; i < len(flags); i += 2 {
		out = append(out, prefix+flags[i], flags[i+1])
	}
	return out
}

func TestAllowFlagsLetInWhomTheyName(t *testing.T) {
	t.Parallel()
	for _, test := range forAlice {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen, service := newPKI(t), reserve(t), serve(t, "tcp", echo)
			server := startServer(t, p, listen, service.address, withPrefix("--allow-", test.flags)...)
			if err := attempt(t, listen, p.clientConfig(p.issue(t, "alice", alice))); err != nil {
				t.Errorf("alice: %v", err)
			}
			if attempt(t, listen, p.clientConfig(p.issue(t, "bob", bob))) == nil {
				t.Error("bob was let in")
			}
			server.waitLine(t, "error on TLS handshake", "reason=not_allowed", "spiffe://test/other/bob")
			if n := service.connections(); n != 1 {
				t.Errorf("the target has seen %d connections, want alice's alone", n)
			}
			server.stop(t)
		})
	}
}

func TestAllowAllLetsInWhomTheCAHasCertified(t *testing.T) {
	t.Parallel()
	p, stranger, listen := newPKI(t), newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--allow-all")
	for name, request := range map[string]devpki.Request{"alice": alice, "bob": bob} {
		if err := attempt(t, listen, p.clientConfig(p.issue(t, name, request))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if attempt(t, listen, p.clientConfig()) == nil {
		t.Error("a client without a certificate was let in")
	}
	config := p.clientConfig()
	certificate := stranger.issue(t, "alice", alice).TLSCertificate()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	if attempt(t, listen, config) == nil {
		t.Error("a client of another CA was let in")
	}
	server.stop(t)
}

func TestDisableAuthenticationAsksClientsForNothing(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	server := startServer(t, p, listen, serve(t, "tcp", echo).address, "--disable-authentication")
	config := p.clientConfig()
	var asked atomic.Bool
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Store(true)
		return new(tls.Certificate), nil
	}
	if err := attempt(t, listen, config); err != nil {
		t.Error(err)
	}
	if asked.Load() {
		t.Error("the client was asked for a certificate")
	}
	server.stop(t)
}

// through sends a few bytes through a client-mode tunnel on listen and reads
// them back. A reset may come before the connection is seen to stand.
func through(t *testing.T, listen string) error {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(t.Context(), "tcp", listen)
	if err != nil {
		return err
	}
	bound(t, conn)
	return errors.Join(roundTrip(conn), conn.Close())
}

func TestVerifyFlagsAcceptTheTargetTheyName(t *testing.T) {
	t.Parallel()
	for _, test := range forAlice {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			certificates := []tls.Certificate{p.issue(t, "alice", alice).TLSCertificate(), p.issue(t, "bob", bob).TLSCertificate()}
			var now atomic.Int32
			config := p.targetConfig(p.server(t))
			config.Certificates = nil
			config.SessionTicketsDisabled = true // who resumes alice's session is alice
			config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificates[now.Load()], nil }
			var served atomic.Int32
			service := serve(t, "tcp", overTLS(config, func(conn net.Conn) {
				if roundTripBack(conn) == nil {
					served.Add(1)
				}
			}))
			client := startClient(t, p, listen, service.address, withPrefix("--verify-", test.flags)...)
			if err := through(t, listen); err != nil {
				t.Errorf("alice: %v", err)
			}
			now.Store(1)
			if through(t, listen) == nil {
				t.Error("bob was accepted")
			}
			client.waitLine(t, "error on TLS handshake", "reason=not_allowed", "spiffe://test/other/bob")
			if n := served.Load(); n != 1 {
				t.Errorf("%d connections were served, want alice's alone", n)
			}
			client.stop(t)
		})
	}
}

// roundTripBack is the other end of roundTrip; it fails if nothing comes.
func roundTripBack(conn net.Conn) error {
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err == nil {
		_, err = conn.Write(buf[:n])
	}
	return err
}

// TestClientModeVerifiesTheTarget offers certificates that are not the
// target's, or that nobody should trust.
func TestClientModeVerifiesTheTarget(t *testing.T) {
	t.Parallel()
	p, stranger := newPKI(t), newPKI(t)
	elsewhere := p.issue(t, "elsewhere", devpki.Request{CommonName: "localhost", DNSNames: []string{"elsewhere.test"}})
	for _, test := range []struct {
		name   string
		shows  files
		flags  []string
		reason string // "" if the target is to be accepted
	}{
		{"another name", elsewhere, nil, "name_mismatch"},
		{"another name and a verify flag that fits", elsewhere, []string{"--verify-dns", "elsewhere.test"}, "name_mismatch"},
		{"another name that is asked for", elsewhere, []string{"--override-server-name", "elsewhere.test"}, ""},
		{"a name that is not the one asked for", p.server(t), []string{"--override-server-name", "elsewhere.test"}, "name_mismatch"},
		{"another CA", stranger.server(t), nil, "unknown_ca"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			listen := reserve(t)
			names := make(chan string, 8)
			config := p.targetConfig(test.shows)
			config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				names <- hello.ServerName
				return nil, nil
			}
			service := serve(t, "tcp", overTLS(config, echo))
			args := []string{"client", "--listen", listen, "--target", "localhost:" + port(t, service.address),
				"--cacert", p.root, "--status", "http://" + reserve(t), "--disable-authentication"}
			config.ClientAuth = tls.NoClientCert
			client := start(t, append(args, test.flags...)...)

			err := through(t, listen)
			want := "localhost"
			if len(test.flags) == 2 && test.flags[0] == "--override-server-name" {
				want = test.flags[1]
			}
			if got := receive(t, "the name that the target was asked for", names); got != want {
				t.Errorf("the target was asked for %q, want %q", got, want)
			}
			if test.reason == "" {
				if err != nil {
					t.Error(err)
				}
			} else {
				if !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the client's connection ended with %v, want a reset", err)
				}
				client.waitLine(t, "error on TLS handshake", "reason="+test.reason)
			}
			client.stop(t)
		})
	}
}

func TestDisableAuthenticationShowsTheTargetNothing(t *testing.T) {
	t.Parallel()
	p, listen := newPKI(t), reserve(t)
	config := p.targetConfig(p.server(t))
	config.ClientAuth = tls.RequestClientCert
	shown := make(chan int, 1)
	service := serve(t, "tcp", overTLS(config, func(conn net.Conn) {
		shown <- len(conn.(*tls.Conn).ConnectionState().PeerCertificates)
		echo(conn)
	}))
	status := reserve(t)
	// Without an identity, the status port cannot be HTTPS.
	client := startUnready(t, nil, "client", "--listen", listen, "--target", service.address,
		"--cacert", p.root, "--disable-authentication", "--status", status)
	client.status = newStatusPort("http://" + status)
	client.waitReady(t)
	if err := through(t, listen); err != nil {
		t.Error(err)
	}
	if n := receive(t, "what the target was shown", shown); n != 0 {
		t.Errorf("the target was shown %d certificates", n)
	}
	client.stop(t)
}

// TestTargetThatRefusesTheClientIsTold: in TLS 1.3 the refusal comes when the
// tunnel is open already.
func TestTargetThatRefusesTheClientIsTold(t *testing.T) {
	t.Parallel()
	p, stranger, listen := newPKI(t), newPKI(t), reserve(t)
	config := p.targetConfig(p.server(t))
	config.ClientCAs = stranger.Pool()
	client := startClient(t, p, listen, serve(t, "tcp", overTLS(config, echo)).address)
	if err := through(t, listen); err == nil {
		t.Error("the connection went through")
	}
	code, r := client.status.report(t)
	if code != 503 || !strings.Contains(r.BackendError, "certificate") {
		t.Errorf("the status says %d %+v, want 503 and why", code, r)
	}
	client.stop(t)
}

// TestTLSFlagsLimitWhatIsNegotiated asks for less than the default.
func TestTLSFlagsLimitWhatIsNegotiated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		flags   []string
		version uint16
		suites  []uint16 // nil: any
	}{
		{"nothing", nil, tls.VersionTLS13, nil},
		{"version", []string{"--max-tls-version", "TLS1.2"}, tls.VersionTLS12, nil},
		{"CHACHA", []string{"--max-tls-version", "TLS1.2", "--cipher-suites", "CHACHA"}, tls.VersionTLS12,
			[]uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}},
		{"AES", []string{"--max-tls-version", "TLS1.2", "--cipher-suites", "AES"}, tls.VersionTLS12,
			[]uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, listen := newPKI(t), reserve(t)
			server := startServer(t, p, listen, serve(t, "tcp", echo).address, append(test.flags, "--allow-all")...)
			conn := connect(t, listen, p.clientConfig(p.client(t)))
			state := conn.ConnectionState()
			if state.Version != test.version || test.suites != nil && !slices.Contains(test.suites, state.CipherSuite) {
				t.Errorf("negotiated %s with %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
			}
			if err := exchange(conn, 1, 1000, 1000); err != nil {
				t.Error(err)
			}
			server.stop(t)
		})
	}
}
