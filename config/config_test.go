package config

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/auth"
	"sallyport/socket"
)

// environment is a process environment made of NAME=VALUE pairs.
func environment(pairs ...string) func(string) (string, bool) {
	values := make(map[string]string)
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// logged is a configuration in the log, with its tunnels.
func logged(s *Sidecar) string {
	var log strings.Builder
	to := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	to.Info("process", "config", s)
	for i := range s.Tunnels {
		to.Info("tunnel", "config", &s.Tunnels[i])
	}
	return log.String()
}

// parse is Parse without an environment, of a line with arguments separated by
// single blanks.
func parse(line string) (Command, error) {
	return Parse(strings.Split(line, " "), environment(), io.Discard, "v1.2.3")
}

// mustParse wants line to be a *Sidecar with one tunnel.
func mustParse(t *testing.T, args []string, env ...string) (*Sidecar, *Tunnel) {
	t.Helper()
	command, err := Parse(args, environment(env...), io.Discard, "v1.2.3")
	if err != nil {
		t.Fatalf("Parse(%q): %v", args, err)
	}
	sidecar, ok := command.(*Sidecar)
	if !ok || len(sidecar.Tunnels) != 1 {
		t.Fatalf("Parse(%q) = %+v, want a *Sidecar with one tunnel", args, command)
	}
	return sidecar, &sidecar.Tunnels[0]
}

func address(t *testing.T, text string) socket.Address {
	t.Helper()
	a, err := socket.ParseListenAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// upstreamTo is what there is to one target without another flag.
func upstreamTo(t *testing.T, at, serverName string) Upstream {
	t.Helper()
	return Upstream{
		Targets:         []Target{{Address: address(t, at), Weight: 1, ServerName: serverName}},
		ResolveInterval: 30 * time.Second,
		HealthTimeout:   5 * time.Second,
	}
}

// Pins of empty keys.
const (
	somePin  = "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	otherPin = "sha384:OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb"
)

func pin(t *testing.T, text string) auth.Pin {
	t.Helper()
	p, err := auth.ParsePin(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pattern(t *testing.T, text string) auth.URIPattern {
	t.Helper()
	p, err := auth.ParseURIPattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// comparable types with unexported fields.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b socket.Address) bool { return a == b }),
	cmp.Comparer(func(a, b auth.URIPattern) bool { return a == b }),
	cmp.Comparer(func(a, b auth.Pin) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// bySecret compares secrets by what they are, not by what they show.
var bySecret = cmp.Transformer("reveal", func(s Secret) []byte { return []byte(s) })

// The least that server and client mode need.
const (
	leastServer = "server --listen :8443 --target localhost:8080 --keystore id.pem --allow-all"
	leastClient = "client --listen localhost:8080 --target web.example.com:8443 --keystore id.pem"
)

// safeSuites is what --cipher-suites AES,CHACHA, the default, stands for.
var safeSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func TestLeastServerHasTheDefaults(t *testing.T) {
	t.Parallel()
	got, _ := mustParse(t, strings.Fields(leastServer))
	want := &Sidecar{
		Tunnels: []Tunnel{{
			Name:           "server",
			Mode:           Server,
			Protocol:       TCP,
			Listen:         address(t, ":8443"),
			Upstream:       upstreamTo(t, "localhost:8080", ""),
			KeepAlive:      15 * time.Second,
			Identity:       Identity{Keystore: "id.pem"},
			Access:         Access{All: true},
			TLS:            TLS{CipherSuites: safeSuites, Resumption: true},
			ConnectTimeout: 10 * time.Second,
			CloseTimeout:   time.Minute,
			MaxHandshakes:  2048,
		}},
		Metrics:         Metrics{Prefix: "ghostunnel", Interval: 30 * time.Second, MaxIdentities: 100},
		Log:             Log{Format: LogText, Level: slog.LevelInfo, Sample: 1},
		WatchFiles:      true,
		ShutdownTimeout: 5 * time.Minute,
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLeastClientHasTheDefaults(t *testing.T) {
	t.Parallel()
	_, got := mustParse(t, strings.Fields(leastClient))
	want := &Tunnel{
		Name:           "client",
		Mode:           Client,
		Protocol:       TCP,
		Listen:         address(t, "localhost:8080"),
		Upstream:       upstreamTo(t, "web.example.com:8443", "web.example.com"),
		KeepAlive:      15 * time.Second,
		Identity:       Identity{Keystore: "id.pem"},
		TLS:            TLS{CipherSuites: safeSuites, Resumption: true},
		ConnectTimeout: 10 * time.Second,
		CloseTimeout:   time.Minute,
		MaxHandshakes:  2048,
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEverySettingDoesSomething adds one flag, or more, to a line that has the
// rest, and looks for what differs from the least line of that mode. A row of
// the table without a case here fails.
func TestEverySettingDoesSomething(t *testing.T) {
	t.Parallel()
	const (
		bareServer = "server --listen :8443 --target localhost:8080 --keystore id.pem"
		noIdentity = "server --listen :8443 --target localhost:8080 --allow-all"
		anonymous  = "client --listen localhost:8080 --target web.example.com:8443"
		onSocket   = "server --listen unix:/s --target localhost:8080 --keystore id.pem --allow-all"
	)
	agent := WorkloadAPI{Use: true, Address: "unix:///run/agent.sock", Timeout: 10 * time.Minute}
	workload := func(api WorkloadAPI) func(*Sidecar, *Tunnel) {
		return func(_ *Sidecar, u *Tunnel) { u.Identity = Identity{WorkloadAPI: api} }
	}
	tests := []struct {
		line, flags string
		set         func(*Sidecar, *Tunnel) // makes what is wanted of the least line
	}{
		{"server --target localhost:8080 --keystore id.pem --allow-all", "--listen unix:/run/s", func(_ *Sidecar, u *Tunnel) { u.Listen = address(t, "unix:/run/s") }},
		{"server --listen :8443 --keystore id.pem --allow-all", "--target unix:/run/s", func(_ *Sidecar, u *Tunnel) { u.Upstream.Targets[0].Address = address(t, "unix:/run/s") }},
		{"server --listen :8443 --keystore id.pem --allow-all", "--target db.example.com:80 --unsafe-target", func(_ *Sidecar, u *Tunnel) { u.Upstream.Targets[0].Address = address(t, "db.example.com:80") }},
		{"client --target web.example.com:8443 --keystore id.pem", "--listen :8080 --unsafe-listen", func(_ *Sidecar, u *Tunnel) { u.Listen = address(t, ":8080") }},
		{"server --listen :8443 --keystore id.pem --allow-all", "--target localhost:8080;weight=3", func(_ *Sidecar, u *Tunnel) { u.Upstream.Targets[0].Weight = 3 }},
		{leastServer, "--target unix:/a;b;weight=256", func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Balance = RoundRobin
			u.Upstream.Targets = append(u.Upstream.Targets, Target{Address: address(t, "unix:/a;b"), Weight: 256})
		}},
		{leastClient, "--target 192.0.2.1:1 --balance least-conn", func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Balance = LeastConn
			u.Upstream.Targets = append(u.Upstream.Targets, Target{Address: address(t, "192.0.2.1:1"), Weight: 1, ServerName: "192.0.2.1"})
		}},
		{leastClient, "--target 192.0.2.1:1 --balance source --override-server-name db", func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Balance = BySource
			u.Upstream.Targets[0].ServerName = "db"
			u.Upstream.Targets = append(u.Upstream.Targets, Target{Address: address(t, "192.0.2.1:1"), Weight: 1, ServerName: "db"})
		}},
		{leastServer, "--balance first", func(_ *Sidecar, u *Tunnel) { u.Upstream.Balance = First }},
		{leastServer, "--health-interval 100ms --health-timeout 1s", func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Balance, u.Upstream.HealthInterval, u.Upstream.HealthTimeout = RoundRobin, 100*time.Millisecond, time.Second
		}},
		{leastServer, "--health-interval 0", func(*Sidecar, *Tunnel) {}},
		{leastServer, "--resolve-interval 1s", func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Balance, u.Upstream.ResolveInterval = RoundRobin, time.Second
		}},
		{leastServer, "--slow-start 10s", func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Balance, u.Upstream.SlowStart = RoundRobin, 10*time.Second
		}},
		{leastServer, "--skip-resolve", func(_ *Sidecar, u *Tunnel) { u.SkipResolve = true }},
		{leastServer, "--no-skip-resolve", func(*Sidecar, *Tunnel) {}},
		{leastServer, "--keepalive 1m", func(_ *Sidecar, u *Tunnel) { u.KeepAlive = time.Minute }},
		{leastServer, "--keepalive 0", func(_ *Sidecar, u *Tunnel) { u.KeepAlive = 0 }},
		{onSocket, "--listen-mode 0660", func(_ *Sidecar, u *Tunnel) { u.Listen, u.ListenMode = address(t, "unix:/s"), 0o660 }},
		{onSocket, "--listen-mode 600 --listen-owner :web", func(_ *Sidecar, u *Tunnel) {
			u.Listen, u.ListenMode, u.ListenOwner = address(t, "unix:/s"), 0o600, ":web"
		}},
		{onSocket, "--listen-owner app", func(_ *Sidecar, u *Tunnel) {
			u.Listen, u.ListenMode, u.ListenOwner = address(t, "unix:/s"), 0o600, "app"
		}},
		{onSocket, "--listen-owner app:web", func(_ *Sidecar, u *Tunnel) {
			u.Listen, u.ListenMode, u.ListenOwner = address(t, "unix:/s"), 0o660, "app:web"
		}},
		{"server --listen systemd:web --target localhost:8080 --keystore id.pem --allow-all", "--status launchd:status", func(s *Sidecar, u *Tunnel) {
			u.Listen, s.Status = address(t, "systemd:web"), Status{Listen: address(t, "launchd:status"), TLS: true}
		}},
		{"client --listen systemd:web --target web.example.com:8443 --keystore id.pem", "--status systemd:status", func(s *Sidecar, u *Tunnel) {
			u.Listen, s.Status = address(t, "systemd:web"), Status{Listen: address(t, "systemd:status"), TLS: true}
		}},

		{noIdentity, "--keystore id.p12", func(_ *Sidecar, u *Tunnel) { u.Identity = Identity{Keystore: "id.p12"} }},
		{leastServer, "--storepass hunter2", func(_ *Sidecar, u *Tunnel) { u.Identity.Password = "hunter2" }},
		{leastServer, "--storepass=", func(*Sidecar, *Tunnel) {}},
		{leastServer, "--storepass @hunter2", func(_ *Sidecar, u *Tunnel) { u.Identity.Password = "@hunter2" }},
		{leastServer, "--storepass-file pass", func(_ *Sidecar, u *Tunnel) { u.Identity.PasswordFile = "pass" }},
		{noIdentity, "--cert c.pem --key k.pem", func(_ *Sidecar, u *Tunnel) { u.Identity = Identity{Cert: "c.pem", Key: "k.pem"} }},
		// Ghostunnel ignores a password that opens nothing, and so does this.
		{noIdentity, "--cert c.pem --key k.pem --storepass x", func(_ *Sidecar, u *Tunnel) { u.Identity = Identity{Cert: "c.pem", Key: "k.pem", Password: "x"} }},
		{leastServer, "--cacert ca.pem", func(_ *Sidecar, u *Tunnel) { u.CACert = "ca.pem" }},
		{leastServer, "--timed-reload 1h", func(s *Sidecar, _ *Tunnel) { s.TimedReload = time.Hour }},
		{leastServer, "--no-watch-files", func(s *Sidecar, _ *Tunnel) { s.WatchFiles = false }},
		{leastServer, "--watch-files", func(*Sidecar, *Tunnel) {}},
		{leastServer, "--crl a.pem --crl b.der --crl-close-revoked", func(_ *Sidecar, u *Tunnel) {
			u.CRLs, u.CloseRevoked = []string{"a.pem", "b.der"}, true
		}},
		{noIdentity, "--cert c.pem --pkcs11-module hsm.so --pkcs11-token-label key --pkcs11-pin hunter2", func(_ *Sidecar, u *Tunnel) {
			u.Identity = Identity{Cert: "c.pem", PKCS11: PKCS11{Module: "hsm.so", TokenLabel: "key", PIN: "hunter2"}}
		}},
		{noIdentity, "--cert c.pem --key k.pem --storepass-file pass", func(_ *Sidecar, u *Tunnel) {
			u.Identity = Identity{Cert: "c.pem", Key: "k.pem", PasswordFile: "pass"}
		}},
		{noIdentity, "--use-workload-api --use-workload-api-addr unix:///run/agent.sock", workload(agent)},
		{noIdentity, "--use-workload-api-addr unix:///run/agent.sock --use-workload-api-timeout 0", workload(WorkloadAPI{Use: true, Address: "unix:///run/agent.sock"})},
		{noIdentity, "--use-workload-api-addr tcp://127.0.0.1:8081", workload(WorkloadAPI{Use: true, Address: "tcp://127.0.0.1:8081", Timeout: 10 * time.Minute})},
		{leastServer, "--use-workload-api-addr unix:///run/agent.sock --no-use-workload-api", func(*Sidecar, *Tunnel) {}},
		{anonymous, "--use-workload-api-addr unix:///run/agent.sock --disable-authentication --status localhost:6060", func(s *Sidecar, u *Tunnel) {
			workload(agent)(s, u)
			u.DisableAuthentication = true
			s.Status = Status{Listen: address(t, "localhost:6060")}
		}},
		{"client --listen localhost:8080 --target unix:/run/web", "--use-workload-api-addr unix:///run/agent.sock", func(s *Sidecar, u *Tunnel) {
			workload(agent)(s, u)
			u.Upstream.Targets[0] = Target{Address: address(t, "unix:/run/web"), Weight: 1}
		}},
		{noIdentity, "--auto-acme-cert web.example.com --auto-acme-email a@b.example --auto-acme-agree-to-tos", func(_ *Sidecar, u *Tunnel) {
			u.Identity = Identity{ACME: ACME{Name: "web.example.com", Email: "a@b.example"}}
		}},
		{noIdentity, "--auto-acme-cert w.example. --auto-acme-email a@b.example --auto-acme-agree-to-tos --auto-acme-ca https://ca/dir --auto-acme-renew-check-interval 1m --auto-acme-alt-tls-alpn-port 5001", func(_ *Sidecar, u *Tunnel) {
			u.Identity = Identity{ACME: ACME{Name: "w.example", Email: "a@b.example", CA: "https://ca/dir", RenewCheckInterval: time.Minute, ALPNPort: 5001}}
		}},
		{noIdentity, "--auto-acme-cert w.example --auto-acme-email a@b.example --auto-acme-agree-to-tos --auto-acme-ca https://ca/dir --auto-acme-testca https://test/dir", func(_ *Sidecar, u *Tunnel) {
			u.Identity = Identity{ACME: ACME{Name: "w.example", Email: "a@b.example", CA: "https://test/dir"}}
		}},
		{leastServer, "--no-auto-acme-agree-to-tos", func(*Sidecar, *Tunnel) {}},
		{noIdentity, "--auto-tls", func(_ *Sidecar, u *Tunnel) { u.Identity = Identity{AutoTLS: AutoTLS{Use: true}} }},
		{noIdentity, "--auto-tls --auto-tls-san web.example.com --auto-tls-san 192.0.2.1", func(_ *Sidecar, u *Tunnel) {
			u.Identity = Identity{AutoTLS: AutoTLS{Use: true, Names: []string{"web.example.com", "192.0.2.1"}}}
		}},

		{bareServer, "--allow-all", func(_ *Sidecar, u *Tunnel) { u.Access = Access{All: true} }},
		{bareServer, "--allow-cn a --allow-cn b", func(_ *Sidecar, u *Tunnel) { u.Access = Access{CommonNames: []string{"a", "b"}} }},
		{bareServer, "--allow-ou a --allow-ou b", func(_ *Sidecar, u *Tunnel) { u.Access = Access{OrganizationalUnits: []string{"a", "b"}} }},
		{bareServer, "--allow-dns a --allow-dns-san b", func(_ *Sidecar, u *Tunnel) { u.Access = Access{DNSNames: []string{"a", "b"}} }},
		{bareServer, "--allow-uri spiffe://a/* --allow-uri-san b", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{URIs: []auth.URIPattern{pattern(t, "spiffe://a/*"), pattern(t, "b")}}
		}},
		{bareServer, "--allow-ip 192.0.2.1 --allow-ip-san ::1", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")}}
		}},
		{bareServer, "--allow-ip ::ffff:192.0.2.1", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
		}},
		{bareServer, "--allow-cn a --allow-policy p.rego --allow-query data.a.b", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{CommonNames: []string{"a"}, Policy: Policy{Path: "p.rego", Query: "data.a.b"}}
		}},
		{leastClient, "--verify-policy dir --verify-query data.a.b", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{Policy: Policy{Path: "dir", Query: "data.a.b"}}
		}},
		{bareServer, "--allow-spki-pin " + somePin + " --allow-spki-pin " + strings.Replace(otherPin, "sha", "SHA", 1), func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{Pins: []auth.Pin{pin(t, somePin), pin(t, otherPin)}}
		}},
		{leastClient, "--verify-spki-pin " + somePin + " --override-server-name db.example", func(_ *Sidecar, u *Tunnel) {
			u.Access, u.Upstream.Targets[0].ServerName = Access{Pins: []auth.Pin{pin(t, somePin)}}, "db.example"
		}},
		{anonymous, "--verify-spki-pin " + somePin + " --disable-authentication", func(_ *Sidecar, u *Tunnel) {
			u.Identity, u.DisableAuthentication, u.Access = Identity{}, true, Access{Pins: []auth.Pin{pin(t, somePin)}}
		}},
		{"client --listen localhost:8080 --target unix:/run/web --keystore id.pem", "--verify-spki-pin " + somePin, func(_ *Sidecar, u *Tunnel) {
			u.Upstream.Targets[0], u.Access = Target{Address: address(t, "unix:/run/web"), Weight: 1}, Access{Pins: []auth.Pin{pin(t, somePin)}}
		}},
		{bareServer, "--allow-cn a --no-allow-all", func(_ *Sidecar, u *Tunnel) { u.Access = Access{CommonNames: []string{"a"}} }},
		{bareServer, "--disable-authentication", func(_ *Sidecar, u *Tunnel) {
			u.DisableAuthentication = true
			u.Access = Access{}
		}},
		{leastClient, "--verify-cn a --verify-cn b", func(_ *Sidecar, u *Tunnel) { u.Access = Access{CommonNames: []string{"a", "b"}} }},
		{leastClient, "--verify-ou a --verify-ou b", func(_ *Sidecar, u *Tunnel) { u.Access = Access{OrganizationalUnits: []string{"a", "b"}} }},
		{leastClient, "--verify-dns a --verify-dns-san b", func(_ *Sidecar, u *Tunnel) { u.Access = Access{DNSNames: []string{"a", "b"}} }},
		{leastClient, "--verify-uri a/** --verify-uri-san b", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{URIs: []auth.URIPattern{pattern(t, "a/**"), pattern(t, "b")}}
		}},
		{leastClient, "--verify-ip 192.0.2.1 --verify-ip-san ::1", func(_ *Sidecar, u *Tunnel) {
			u.Access = Access{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")}}
		}},
		{leastClient, "--override-server-name other.example.com", func(_ *Sidecar, u *Tunnel) { u.Upstream.Targets[0].ServerName = "other.example.com" }},
		{leastClient, "--override-server-name 2001:DB8::1", func(_ *Sidecar, u *Tunnel) { u.Upstream.Targets[0].ServerName = "2001:db8::1" }},
		{anonymous, "--disable-authentication", func(_ *Sidecar, u *Tunnel) {
			u.DisableAuthentication = true
			u.Identity = Identity{}
		}},
		{anonymous, "--disable-authentication --verify-cn a", func(_ *Sidecar, u *Tunnel) {
			u.DisableAuthentication = true
			u.Identity = Identity{}
			u.Access = Access{CommonNames: []string{"a"}}
		}},

		{leastServer, "--proxy-protocol", func(_ *Sidecar, u *Tunnel) { u.Announce = AnnounceConn }},
		{leastServer, "--proxy-protocol-mode conn", func(_ *Sidecar, u *Tunnel) { u.Announce = AnnounceConn }},
		{leastServer, "--proxy-protocol-mode tls", func(_ *Sidecar, u *Tunnel) { u.Announce = AnnounceTLS }},
		{leastServer, "--proxy-protocol-mode tls-full --no-proxy-protocol", func(_ *Sidecar, u *Tunnel) { u.Announce = AnnounceTLSFull }},
		{leastClient, "--proxy-protocol-in 10.0.0.0/8 --proxy-protocol-in 192.0.2.1 --proxy-protocol-in ::1 --proxy-protocol-in ::ffff:10.0.0.0/104 --proxy-protocol-in unix", func(_ *Sidecar, u *Tunnel) {
			u.HeaderPeers = HeaderPeers{UNIX: true, Networks: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.0.0.0/8"),
			}}
		}},
		{"server --listen unix:/run/l --target localhost:8080 --keystore id.pem --allow-all", "--proxy-protocol-in unix", func(_ *Sidecar, u *Tunnel) {
			u.Listen, u.HeaderPeers = address(t, "unix:/run/l"), HeaderPeers{UNIX: true}
		}},

		{leastServer, "--connect-timeout 3s", func(_ *Sidecar, u *Tunnel) { u.ConnectTimeout = 3 * time.Second }},
		{leastServer, "--close-timeout 0", func(_ *Sidecar, u *Tunnel) { u.CloseTimeout = 0 }},
		{leastServer, "--idle-timeout 1m30s", func(_ *Sidecar, u *Tunnel) { u.IdleTimeout = 90 * time.Second }},
		{leastServer, "--max-conn-lifetime 2h", func(_ *Sidecar, u *Tunnel) { u.MaxConnLifetime = 2 * time.Hour }},
		{leastServer, "--max-concurrent-conns 7", func(_ *Sidecar, u *Tunnel) { u.MaxConns = 7 }},
		{leastServer, "--max-handshakes 7", func(_ *Sidecar, u *Tunnel) { u.MaxHandshakes = 7 }},
		{leastServer, "--max-handshakes 0", func(_ *Sidecar, u *Tunnel) { u.MaxHandshakes = 0 }},
		{leastServer, "--protocol http", func(_ *Sidecar, u *Tunnel) { overHTTP(u) }},
		{leastServer, "--protocol http --alpn http/1.1", func(_ *Sidecar, u *Tunnel) {
			overHTTP(u)
			u.TLS.Protocols = []string{"http/1.1"}
		}},
		{leastServer, "--protocol http --http-target-h2c --http-forwarded", func(_ *Sidecar, u *Tunnel) {
			overHTTP(u)
			u.Requests.TargetH2C, u.Requests.Forwarded = true, true
		}},
		{leastClient, "--protocol http --http-max-header-bytes 2048 --http-max-body-bytes 5000000000 --http-max-requests 7", func(_ *Sidecar, u *Tunnel) {
			overHTTP(u)
			u.Requests.MaxHeaderBytes, u.Requests.MaxBodyBytes, u.Requests.MaxRequests = 2048, 5000000000, 7
		}},
		{leastClient, "--protocol http --http-header-timeout 1s --http-read-timeout 2s --http-idle-timeout 3s --http-response-timeout 4s", func(_ *Sidecar, u *Tunnel) {
			overHTTP(u)
			r := &u.Requests
			r.HeaderTimeout, r.ReadTimeout, r.IdleTimeout, r.ResponseTimeout = time.Second, 2*time.Second, 3*time.Second, 4*time.Second
		}},
		{leastClient, "--protocol tcp", func(*Sidecar, *Tunnel) {}},
		{"server --listen localhost:8443 --target localhost:8080", "--protocol http --disable-tls", func(_ *Sidecar, u *Tunnel) {
			overHTTP(u)
			u.TLS.Protocols = nil // there is no TLS
			u.Listen, u.DisableTLS, u.DisableAuthentication = address(t, "localhost:8443"), true, true
			u.Identity, u.Access = Identity{}, Access{}
		}},
		{leastServer, "--max-conns-per-ip 7", func(_ *Sidecar, u *Tunnel) { u.MaxConnsPerIP = 7 }},
		{leastServer, "--shutdown-timeout 1s", func(s *Sidecar, _ *Tunnel) { s.ShutdownTimeout = time.Second }},
		{leastServer, "--landlock-allow 5432 --landlock-allow 6000-6010 --landlock-allow /run/app/", func(s *Sidecar, _ *Tunnel) {
			s.LandlockAllow = Allowance{Dirs: []string{"/run/app"}, Ports: []PortRange{{5432, 5432}, {6000, 6010}}}
		}},
		{leastServer, "--shutdown-delay 3s", func(s *Sidecar, _ *Tunnel) { s.ShutdownDelay = 3 * time.Second }},

		{leastClient, "--proxy http://proxy.example", func(_ *Sidecar, u *Tunnel) {
			u.Proxy = UpstreamProxy{Scheme: "http", Address: address(t, "proxy.example:80")}
		}},
		{leastClient, "--proxy https://al%20ice:hunter%32@[2001:db8::1]/", func(_ *Sidecar, u *Tunnel) {
			u.Proxy = UpstreamProxy{Scheme: "https", Address: address(t, "[2001:db8::1]:443"), User: "al ice", Password: "hunter2"}
		}},
		{leastClient, "--connect-proxy HTTPS://proxy.example:8443 --proxy-cert c --proxy-key k --proxy-cacert a --proxy-auth-file f", func(_ *Sidecar, u *Tunnel) {
			u.Proxy = UpstreamProxy{Scheme: "https", Address: address(t, "proxy.example:8443"), Cert: "c", Key: "k", CACert: "a", AuthFile: "f"}
		}},
		{leastClient, "--proxy socks5://alice@proxy.example", func(_ *Sidecar, u *Tunnel) {
			u.Proxy = UpstreamProxy{Scheme: "socks5", Address: address(t, "proxy.example:1080"), User: "alice"}
		}},
		{leastClient, "--proxy socks5h://192.0.2.1:9050 --proxy-auth-file f", func(_ *Sidecar, u *Tunnel) {
			u.Proxy = UpstreamProxy{Scheme: "socks5", Address: address(t, "192.0.2.1:9050"), AuthFile: "f"}
		}},

		{leastServer, "--cipher-suites CHACHA,AES", func(_ *Sidecar, u *Tunnel) {
			u.TLS.CipherSuites = append(safeSuites[4:6:6], safeSuites[:4]...)
		}},
		{leastServer, "--cipher-suites UNSAFE-AZURE --allow-unsafe-cipher-suites", func(_ *Sidecar, u *Tunnel) {
			u.TLS.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256}
		}},
		{leastServer, "--alpn postgresql --alpn h2", func(_ *Sidecar, u *Tunnel) { u.TLS.Protocols = []string{"postgresql", "h2"} }},
		{leastClient, "--alpn h2", func(_ *Sidecar, u *Tunnel) { u.TLS.Protocols = []string{"h2"} }},
		{leastServer, "--no-resumption", func(_ *Sidecar, u *Tunnel) { u.TLS.Resumption = false }},
		{leastClient, "--no-resumption", func(_ *Sidecar, u *Tunnel) { u.TLS.Resumption = false }},
		{leastServer, "--resumption --session-ticket-keys tickets", func(_ *Sidecar, u *Tunnel) { u.TLS.TicketKeys = "tickets" }},
		{leastServer, "--starttls postgres", func(_ *Sidecar, u *Tunnel) { u.StartTLS = "postgres" }},
		{leastClient, "--starttls ldap", func(_ *Sidecar, u *Tunnel) { u.StartTLS = "ldap" }},
		{leastServer, "--starttls mysql", func(_ *Sidecar, u *Tunnel) { u.StartTLS = "mysql" }},
		{leastServer, "--starttls smtp", func(_ *Sidecar, u *Tunnel) { u.StartTLS = "smtp" }},
		{leastServer, "--max-tls-version TLS1.2", func(_ *Sidecar, u *Tunnel) { u.TLS.MaxVersion = tls.VersionTLS12 }},
		{leastServer, "--max-tls-version TLS1.3", func(_ *Sidecar, u *Tunnel) { u.TLS.MaxVersion = tls.VersionTLS13 }},

		{leastServer, "--status localhost:6060", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "localhost:6060"), TLS: true} }},
		{leastServer, "--status https://localhost:6060", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "localhost:6060"), TLS: true} }},
		{leastServer, "--status http://localhost:6060", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "localhost:6060")} }},
		{leastServer, "--status http://localhost:6060/", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "localhost:6060")} }},
		{leastServer, "--status unix:/run/status", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "unix:/run/status")} }},
		{anonymous, "--disable-authentication --status localhost:6060", func(s *Sidecar, u *Tunnel) {
			u.DisableAuthentication = true
			u.Identity = Identity{}
			s.Status = Status{Listen: address(t, "localhost:6060")}
		}},
		{leastServer, "--target-status http://localhost/health?token=x", func(_ *Sidecar, u *Tunnel) {
			u.TargetStatus = &url.URL{Scheme: "http", Host: "localhost", Path: "/health", RawQuery: "token=x"}
		}},
		{leastServer, "--status unix:/s --enable-pprof", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "unix:/s"), Pprof: true} }},
		{leastServer, "--status unix:/s --enable-shutdown", func(s *Sidecar, _ *Tunnel) { s.Status = Status{Listen: address(t, "unix:/s"), Shutdown: true} }},
		{leastServer, "--status :6060 --status-token-file t", func(s *Sidecar, _ *Tunnel) {
			s.Status = Status{Listen: address(t, ":6060"), TLS: true, TokenFile: "t"}
		}},
		{leastServer, "--status unix:/s --status-token-file t", func(s *Sidecar, _ *Tunnel) {
			s.Status = Status{Listen: address(t, "unix:/s"), TokenFile: "t"}
		}},
		{leastServer, "--status :6060 --status-client-ca ca --status-token-file t", func(s *Sidecar, _ *Tunnel) {
			s.Status = Status{Listen: address(t, ":6060"), TLS: true, TokenFile: "t", ClientCA: "ca"}
		}},
		{leastServer, "--metrics-prefix mine", func(s *Sidecar, _ *Tunnel) { s.Metrics.Prefix = "mine" }},
		{leastServer, "--metrics-graphite carbon:2003", func(s *Sidecar, _ *Tunnel) { s.Metrics.Graphite = address(t, "carbon:2003") }},
		{leastServer, "--metrics-url https://in.example:8443/x?y=z", func(s *Sidecar, _ *Tunnel) {
			s.Metrics.URL = &url.URL{Scheme: "https", Host: "in.example:8443", Path: "/x", RawQuery: "y=z"}
		}},
		{leastServer, "--metrics-interval 1s", func(s *Sidecar, _ *Tunnel) { s.Metrics.Interval = time.Second }},
		{leastServer, "--protocol http --metrics-compat prometheus-tunnel", func(s *Sidecar, u *Tunnel) {
			overHTTP(u)
			s.Metrics.Compat = PrometheusTunnel
		}},
		{leastServer, "--metrics-max-identities 0", func(s *Sidecar, _ *Tunnel) { s.Metrics.MaxIdentities = 0 }},
		{leastServer, "--status unix:/s --netstat", func(s *Sidecar, _ *Tunnel) { s.Status, s.Netstat = Status{Listen: address(t, "unix:/s")}, true }},

		{leastServer, "--disable-landlock", func(s *Sidecar, _ *Tunnel) { s.DisableLandlock = true }},
		{leastServer, "--use-landlock", func(*Sidecar, *Tunnel) {}},
		{leastServer, "--disable-landlock --use-landlock", func(s *Sidecar, _ *Tunnel) { s.DisableLandlock = true }},

		{leastServer, "--quiet all", func(s *Sidecar, _ *Tunnel) { s.Log.Quiet.All = true }},
		{leastServer, "--quiet conns --quiet conn-errs --quiet handshake-errs", func(s *Sidecar, _ *Tunnel) {
			s.Log.Quiet = Quiet{Conns: true, ConnErrors: true, HandshakeErrors: true}
		}},
		{leastServer, "--log-sample 100", func(s *Sidecar, _ *Tunnel) { s.Log.Sample = 100 }},
		{leastServer, "--log-format json", func(s *Sidecar, _ *Tunnel) { s.Log.Format = LogJSON }},
		{leastServer, "--log-level debug", func(s *Sidecar, _ *Tunnel) { s.Log.Level = slog.LevelDebug }},
		{leastServer, "--log-level warn", func(s *Sidecar, _ *Tunnel) { s.Log.Level = slog.LevelWarn }},
		{leastServer, "--log-level error", func(s *Sidecar, _ *Tunnel) { s.Log.Level = slog.LevelError }},
		{leastServer, "--syslog", func(s *Sidecar, _ *Tunnel) { s.Log.Syslog = true }},
	}
	tried := make(map[string]bool)
	for _, tt := range tests {
		for word := range strings.FieldsSeq(tt.flags) {
			name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
			tried[name] = true
		}
		t.Run(tt.flags, func(t *testing.T) {
			t.Parallel()
			got, _ := mustParse(t, append(strings.Fields(tt.line), strings.Fields(tt.flags)...))

			complete := leastServer
			if strings.HasPrefix(tt.line, "client") {
				complete = leastClient
			}
			want, tunnel := mustParse(t, strings.Fields(complete))
			tt.set(want, tunnel)
			if diff := cmp.Diff(want, got, byValue); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			unchanged, _ := mustParse(t, strings.Fields(complete))
			if !cmp.Equal(unchanged, got, byValue) && logged(unchanged) == logged(got) {
				t.Errorf("the log does not tell of it:\n%s", logged(got))
			}
		})
	}
	for _, s := range settings {
		for _, name := range append([]string{s.name}, s.aliases...) {
			if s.commands&inTunnel != 0 && !tried[name] {
				t.Errorf("--%s has no case", name)
			}
		}
	}
}

func TestCerts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		line string
		want Certs
	}{
		{"certs init dir", Certs{Dir: "dir"}},
		{"certs issue dir web", Certs{Dir: "dir", Name: "web"}},
		{"certs issue --force dir web-2.eu", Certs{Dir: "dir", Name: "web-2.eu", Force: true}},
		{
			"certs init dir --dns-name a --dns-name b --ip 192.0.2.1 --ip ::1 --uri spiffe://a/b --ou x --ou y --days 7 --storepass hunter2",
			Certs{
				Dir: "dir", Lifetime: 7 * 24 * time.Hour, Password: "hunter2", OrganizationalUnits: []string{"x", "y"}, DNSNames: []string{"a", "b"}, URIs: []string{"spiffe://a/b"},
				IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			got, err := parse(tt.line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, byValue); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCheckTakesWhatAStartTakes has a check hold what the command itself would.
func TestCheckTakesWhatAStartTakes(t *testing.T) {
	t.Parallel()
	for _, line := range []string{leastServer, leastClient} {
		want, _ := mustParse(t, strings.Fields(line))
		got, err := parse("check " + line)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Check{Sidecar: want}, got, byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestFlagsMayStandBeforeTheCommand(t *testing.T) {
	t.Parallel()
	_, tunnel := mustParse(t, strings.Fields("--keystore id.pem --allow-cn a server --listen :8443 --target localhost:8080"))
	if tunnel.Identity.Keystore != "id.pem" || len(tunnel.Access.CommonNames) != 1 {
		t.Errorf("got %+v", tunnel)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	least := strings.Fields("server --listen :8443 --target localhost:8080 --disable-authentication")
	tests := []struct {
		name string
		args []string
		env  []string
		want Identity
	}{
		{"Ghostunnel's names", nil, []string{"KEYSTORE_PATH=a", "KEYSTORE_PASS=b"}, Identity{Keystore: "a", Password: "b"}},
		{"Ghostunnel's names for a pair", nil, []string{"CERT_PATH=a", "KEY_PATH=b"}, Identity{Cert: "a", Key: "b"}},
		{"own names", nil, []string{"SALLYPORT_KEYSTORE=a", "SALLYPORT_STOREPASS_FILE=b"}, Identity{Keystore: "a", PasswordFile: "b"}},
		{"own name before Ghostunnel's", nil, []string{"KEYSTORE_PATH=a", "SALLYPORT_KEYSTORE=b"}, Identity{Keystore: "b"}},
		{"flag before both", []string{"--keystore", "c"}, []string{"KEYSTORE_PATH=a", "SALLYPORT_KEYSTORE=b"}, Identity{Keystore: "c"}},
		{"empty counts as none", nil, []string{"KEYSTORE_PATH=a", "SALLYPORT_KEYSTORE="}, Identity{Keystore: "a"}},
		{"Ghostunnel's names for an HSM", nil, []string{"CERT_PATH=a", "PKCS11_MODULE=b", "PKCS11_TOKEN_LABEL=c", "PKCS11_PIN=d"}, Identity{Cert: "a", PKCS11: PKCS11{Module: "b", TokenLabel: "c", PIN: "d"}}},
		{"a PIN that opens nothing", nil, []string{"KEYSTORE_PATH=a", "PKCS11_PIN=d"}, Identity{Keystore: "a", PKCS11: PKCS11{PIN: "d"}}},
		{"the Workload API's address", nil, []string{"SPIFFE_ENDPOINT_SOCKET=unix:/a"}, Identity{WorkloadAPI: WorkloadAPI{Use: true, Address: "unix:/a", Timeout: 10 * time.Minute}}},
		{"the Workload API's address beside an identity", nil, []string{"SPIFFE_ENDPOINT_SOCKET=unix:/a", "KEYSTORE_PATH=b"}, Identity{Keystore: "b"}},
		{"a password keeps its blanks", nil, []string{"KEYSTORE_PATH=a", "KEYSTORE_PASS= b\tc\r"}, Identity{Keystore: "a", Password: " b\tc\r"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, tunnel := mustParse(t, append(slices.Clip(least), tt.args...), tt.env...)
			if diff := cmp.Diff(tt.want, tunnel.Identity, bySecret); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A rule that its author believes to be there must not be passed over.
func TestABlankVariableIsAnError(t *testing.T) {
	t.Parallel()
	args := strings.Fields("client --listen localhost:8080 --target localhost:8443 --disable-authentication")
	_, err := Parse(args, environment("SALLYPORT_VERIFY_CN= \n"), io.Discard, "")
	if want := "SALLYPORT_VERIFY_CN: holds nothing but blanks; write a value on each line, or unset it"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestEnvironmentAlone(t *testing.T) {
	t.Parallel()
	got, tunnel := mustParse(t, []string{"server"},
		"SALLYPORT_LISTEN=:8443", "SALLYPORT_TARGET=localhost:8080", "CACERT_PATH=ca.pem", "KEYSTORE_PATH=id.pem",
		"SALLYPORT_ALLOW_CN=alice\nbob\r\n\n", "SALLYPORT_QUIET=conns\nconn-errs", "SALLYPORT_SKIP_RESOLVE=true",
		"SALLYPORT_CLOSE_TIMEOUT=0", "SALLYPORT_VERIFY_CN=ignored: a variable of client mode")
	if tunnel.Listen != address(t, ":8443") || tunnel.CACert != "ca.pem" || !tunnel.SkipResolve || tunnel.CloseTimeout != 0 {
		t.Errorf("got %+v", tunnel)
	}
	if diff := cmp.Diff([]string{"alice", "bob"}, tunnel.Access.CommonNames); diff != "" {
		t.Errorf("common names (-want +got):\n%s", diff)
	}
	if want := (Quiet{Conns: true, ConnErrors: true}); got.Log.Quiet != want {
		t.Errorf("quiet is %+v, want %+v", got.Log.Quiet, want)
	}
}

func TestParseReportsAFailedWrite(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"--help", "--help-man", "--version", "--completion-script-bash", "--completion-bash server", ""} {
		_, err := Parse(strings.Fields(line), environment(), brokenWriter{}, "v1.2.3")
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%q: %v, want the writer's error", line, err)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		leastServer, leastClient, "certs init d", "certs issue d n --days 3", "--help", "help certs", "--completion-bash server --l",
		"server --", "-- server", "server --no-allow-all", "server -x", "client --listen", "server --quiet=all --allow-ip=1", "--storepass a b", "--storepas @a",
		"server --allow-all=1", "server --storepass -a", "-x --listen", "server --syslog", "server --status https://a:1/",
		"server --target-status http://a:b@c", "server --allow-uri a*", "server --status http://unix:/a", "help x", "- -- ---",
	} {
		f.Add(line, "KEY_PATH=a")
	}
	f.Fuzz(func(t *testing.T, line, variable string) {
		args := strings.Split(line, " ")
		for i, arg := range args {
			args[i] = strings.TrimLeft(arg, "@") // opens no file
		}
		var out bytes.Buffer
		command, err := Parse(args, environment(variable), &out, "v1.2.3")
		switch {
		case err == nil:
			if command == nil {
				t.Error("neither a command nor an error")
			}
			if out.Len() > 0 {
				t.Errorf("a command was found, but %q written", out.String())
			}
		case command != nil:
			t.Errorf("command %+v and error %v", command, err)
		case strings.ContainsAny(err.Error(), "\n\r"):
			t.Errorf("error of more than one line: %q", err)
		}
	})
}

// overHTTP gives a tunnel what --protocol http does.
func overHTTP(t *Tunnel) {
	t.Protocol = HTTP
	t.TLS.Protocols = []string{"h2", "http/1.1"}
	t.Requests = Requests{
		MaxHeaderBytes: 65536, HeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, ResponseTimeout: time.Minute,
	}
}
