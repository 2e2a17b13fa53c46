package sidecar

import (
	"crypto/tls"
	"maps"
	"slices"
	"strings"
	"testing"

	"sallyport/auth"
	"sallyport/config"
	"sallyport/proxy"
	"sallyport/socket"
	"sallyport/starttls"
	"sallyport/upstream"
	"sallyport/webproxy"
)

// hintedTunnels are tunnels of the kinds that hints tell apart.
func hintedTunnels() map[string]*config.Tunnel {
	kinds := map[string]func(*config.Tunnel){
		"files":        func(c *config.Tunnel) { c.CACert, c.Identity.Cert = "ca.pem", "cert.pem" },
		"system trust": func(*config.Tunnel) {},
		"workload API": func(c *config.Tunnel) { c.Identity.WorkloadAPI.Use = true },
		"pins":         func(c *config.Tunnel) { c.Access.Pins = make([]auth.Pin, 1) },
		"TLS 1.2":      func(c *config.Tunnel) { c.TLS.MaxVersion = tls.VersionTLS12 },
		"h2c":          func(c *config.Tunnel) { c.Requests.TargetH2C = true },
		"anonymous":    func(c *config.Tunnel) { c.CACert, c.DisableAuthentication = "ca.pem", true },
	}
	tunnels := make(map[string]*config.Tunnel)
	for kind, adapt := range kinds {
		for _, mode := range []config.Mode{config.Server, config.Client} {
			tunnels[string(mode)+", "+kind] = &config.Tunnel{Mode: mode}
			adapt(tunnels[string(mode)+", "+kind])
		}
	}
	return tunnels
}

func TestHintsFitTheFailure(t *testing.T) {
	t.Parallel()
	const helloTLS = "is --target a port that speaks TLS? PostgreSQL and its like need --starttls"
	const suites = "ECDHE with AES-GCM or ChaCha20-Poly1305, for the kind of key of this certificate"
	for _, test := range []struct{ tunnel, stage, reason, want string }{
		{"server, files", atHandshake, "unknown_ca", "--cacert names the CAs of clients"},
		{"server, system trust", atHandshake, "unknown_ca", "--cacert names the CAs of clients; without it those of the system count"},
		{"server, workload API", atHandshake, "unknown_ca", "the Workload API says whom to trust: is the peer of that trust domain, or of one that it federates with?"},
		{"client, files", atHandshake, "unknown_ca", "--cacert names the CA of the target's certificate"},
		{"client, files", atRequest, "unknown_ca", "--cacert names the CA of the target's certificate"},
		{"server, workload API", atHandshake, "no_certificate", "the client has to show a certificate, of a trust domain that the Workload API names; --disable-authentication asks for none"},
		{"server, pins", atHandshake, "no_certificate", "the client has to show a certificate, with a key that --allow-spki-pin names; --disable-authentication asks for none"},
		{"server, files", atHandshake, "not_tls", "the client has to speak TLS, as with https://; PostgreSQL and its like need --starttls"},
		{"client, files", atHandshake, "not_tls", helloTLS},
		{"client, files", atHandshake, "connection_lost", helloTLS},
		{"server, files", atHandshake, "connection_lost", ""},
		{"client, files", atUpgrade, "connection_lost", ""},
		{"server, files", atHandshake, "no_shared_cipher", "the peer has to speak TLS 1.3, or offer " + suites},
		{"server, TLS 1.2", atHandshake, "no_shared_cipher", "the peer has to offer " + suites + "; TLS 1.3, which --max-tls-version keeps out, knows no such kinds"},
		{"server, files", atDial, "timeout", "--connect-timeout is the limit; a firewall on the way may drop what is sent"},
		{"server, files", "announce", "timeout", ""},
		{"client, anonymous", "", "target_alert", "the target may want a certificate: --cert with --key"},
		{"client, files", "", "target_alert", "does the target trust the CA of this certificate, and let its owner in?"},
		{"server, files", "", "target_alert", ""},
		{"server, files", atHandshake, "client_abort", ""},
		{"server, files", atHandshake, "shutdown", ""},
		{"server, files", "", "eof", ""},
		{"server, files", atHandshake, "something new", ""},
	} {
		if got := hintFor(hintedTunnels()[test.tunnel], test.stage, test.reason); got != test.want {
			t.Errorf("%s, %s at %q: %q, want %q", test.tunnel, test.reason, test.stage, got, test.want)
		}
	}
}

// Of a tunnel that stands in a file, flags are keys.
func TestHintsSpeakOfWhatTheOperatorWrote(t *testing.T) {
	t.Parallel()
	c := &config.Tunnel{Mode: config.Server, CACert: "ca.pem", Origin: new(config.Origin)}
	want := "the client has to show a certificate, of a CA in cacert; disable-authentication: true asks for none"
	if got := hintFor(c, atHandshake, "no_certificate"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for reason, all := range hints {
		for _, h := range all {
			if text := c.Origin.Worded(h.text); strings.Contains(text, "--") {
				t.Errorf("%s: no flag is called so: %q", reason, text)
			}
		}
	}
}

// A route is a tunnel of its own as far as its clients go.
func TestHintsGoByTheRouteThatAClientAskedFor(t *testing.T) {
	t.Parallel()
	tunnel := &tunnel{config: &config.Tunnel{Mode: config.Server}, routes: new(routes)}
	own := &route{config: &config.Tunnel{Mode: config.Server, CACert: "ca.pem"}}
	tunnel.routes.named.Set("own.test", own)
	const systems = "; without it those of the system count"
	for name, want := range map[string]bool{"own.test": false, "other.test": true, "": true} {
		if got := tunnel.hint(atHandshake, "unknown_ca", name); strings.HasSuffix(got, systems) != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// allReasons are those for which a connection or a request ends.
func allReasons() []string {
	reasons := slices.Concat(proxy.Ends(), denials(), socket.ProxyReasons(), starttls.Reasons(), webproxy.Reasons(), []string{upstream.ReasonNoTarget})
	for _, atStage := range proxy.Failures() {
		reasons = append(reasons, atStage...)
	}
	return union(reasons)
}

// Whoever adds a reason says what helps against it, or that nothing does.
func TestEveryReasonHasAHintOrNeedsNone(t *testing.T) {
	t.Parallel()
	none := []string{
		"acme_challenge", "eof", "shutdown", // are no failures
		"close_timeout", "idle_timeout", "lifetime", // have the names of their flags
		"bad_certificate", "crl_invalid", "no_target_up", "policy_error", "proxy_auth", "proxy_error", "proxy_refused", // are told in full
		"bad_request", "bad_request_body", "bad_signature", "error", "method_not_allowed", "oversized_record", "too_many_fields", // are others' faults
		"bad_upgrade", "misdirected_request", "no_close_notify", "reset", "response_incomplete", // likewise
	}
	for _, reason := range allReasons() {
		if strings.HasPrefix(reason, "client_") || strings.HasPrefix(reason, "target_") {
			continue // what one side did, which is its own business more often than not
		}
		if hinted := hints[reason] != nil; hinted == slices.Contains(none, reason) {
			t.Errorf("%s: has a hint: %t; it has one or is among those that need none", reason, hinted)
		}
	}
}

// Every hint is that of a failure that there is, and is for some case that none before it is for.
func TestNoHintIsOutOfUse(t *testing.T) {
	t.Parallel()
	reasons := allReasons()
	stages := append(slices.Collect(maps.Keys(proxy.Failures())), atRequest, "")
	for _, stage := range []string{atHeader, atUpgrade, atHandshake, atDial} {
		if !slices.Contains(stages, stage) {
			t.Errorf("nothing fails at %s", stage)
		}
	}
	for reason, all := range hints {
		if !slices.Contains(reasons, reason) {
			t.Errorf("nothing fails for the reason %s", reason)
		}
		used := make(map[string]bool)
		for _, c := range hintedTunnels() {
			for _, stage := range stages {
				used[hintFor(c, stage, reason)] = true
			}
		}
		for _, h := range all {
			if !used[h.text] {
				t.Errorf("%s: never told: %q", reason, h.text)
			}
		}
	}
}
