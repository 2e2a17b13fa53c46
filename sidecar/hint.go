package sidecar

import (
	"crypto/tls"

	"sallyport/config"
)

// hint is what may help against a failure: a fragment of a sentence for the log line that tells of it.
type hint struct {
	mode  config.Mode               // of the tunnel; "": any
	stage string                    // in which it failed; "": any
	when  func(*config.Tunnel) bool // nil: always
	text  string                    // names flags as a command line has them
}

// The stages that hints tell apart.
const (
	atHeader    = "header"
	atUpgrade   = "upgrade"
	atHandshake = "handshake"
	atDial      = "dial"    // also of checks
	atRequest   = "request" // of HTTP
)

// hints are what helps by the reason of a failure, of which the first one counts that is for the case. Reasons whose errors say
// all that there is to say, or against which there is nothing to be done, have none. The peer is the client in server mode, and
// the target in client mode.
var hints = map[string][]hint{
	// Who the peer is.
	"no_certificate": {
		{config.Server, "", isPinned, "the client has to show a certificate, with a key that --allow-spki-pin names; --disable-authentication asks for none"},
		{config.Server, "", asksWorkloadAPI, "the client has to show a certificate, of a trust domain that the Workload API names; --disable-authentication asks for none"},
		{config.Server, "", nil, "the client has to show a certificate, of a CA in --cacert; --disable-authentication asks for none"},
	},
	"unknown_ca": {
		{"", "", asksWorkloadAPI, "the Workload API says whom to trust: is the peer of that trust domain, or of one that it federates with?"},
		{config.Server, "", trustsSystem, "--cacert names the CAs of clients; without it those of the system count"},
		{config.Server, "", nil, "--cacert names the CAs of clients"},
		{config.Client, "", trustsSystem, "--cacert names the CA of the target's certificate; without it those of the system count"},
		{config.Client, "", nil, "--cacert names the CA of the target's certificate"},
	},
	"expired":       {{text: "renew that certificate, if the clock of this machine is right"}},
	"not_yet_valid": {{text: "compare the clocks of this machine and of whoever issued it"}},
	"name_mismatch": {{text: "--target by a name that the certificate has, or that name as --override-server-name"}},
	"not_allowed": {
		{config.Server, "", asksWorkloadAPI, "if it may come in, name it by --allow-uri"},
		{config.Server, "", nil, "if it may come in, name it by --allow-cn, --allow-ou, --allow-dns or --allow-uri"},
		{config.Client, "", asksWorkloadAPI, "if it is the one that is meant, name it by --verify-uri"},
		{config.Client, "", nil, "if it is the one that is meant, name it by --verify-cn, --verify-ou, --verify-dns or --verify-uri"},
	},
	"policy_denied": {
		{config.Server, "", nil, "if it may come in, that is up to --allow-policy, or to a flag such as --allow-cn"},
		{config.Client, "", nil, "if it is the one that is meant, that is up to --verify-policy, or to a flag such as --verify-cn"},
	},
	"pin_mismatch": {
		{config.Server, "", nil, "if it may come in, add its pin as an --allow-spki-pin"},
		{config.Client, "", nil, "if it is the one that is meant, add its pin as a --verify-spki-pin"},
	},
	"revoked":     {{text: "its owner needs a new certificate"}},
	"crl_missing": {{text: "give a list of each CA of the chain by --crl, which repeats"}},
	"crl_expired": {{text: "put the current list of that CA where --crl says"}},

	// How the peer talks.
	"not_tls": {
		{config.Server, "", nil, "the client has to speak TLS, as with https://; PostgreSQL and its like need --starttls"},
		{config.Client, "", nil, "is --target a port that speaks TLS? PostgreSQL and its like need --starttls"},
	},
	"connection_lost": {{config.Client, atHandshake, nil, "is --target a port that speaks TLS? PostgreSQL and its like need --starttls"}},
	"protocol_version": {
		{when: isOldTLS, text: "the peer has to speak TLS 1.2, which --max-tls-version keeps it to"},
		{text: "the peer has to speak TLS 1.2 or 1.3"},
	},
	"no_shared_cipher": {
		{when: isOldTLS, text: "the peer has to offer ECDHE with AES-GCM or ChaCha20-Poly1305, for the kind of key of this certificate; TLS 1.3, which --max-tls-version keeps out, knows no such kinds"},
		{text: "the peer has to speak TLS 1.3, or offer ECDHE with AES-GCM or ChaCha20-Poly1305, for the kind of key of this certificate"},
	},
	"no_shared_protocol": {{text: "--alpn says which protocols are offered"}},
	"unrecognized_name":  {{text: "add it to the server-name of a route, or give the tunnel a --target for all other names"}},
	"peer_alert": {
		{config.Server, "", nil, "does the client trust the CA of this certificate, and is the certificate for the name that it asked for?"},
		{config.Client, "", showsNone, "the target may want a certificate: --cert with --key"},
		{config.Client, "", nil, "does the target trust the CA of this certificate, and let its owner in?"},
	},
	"target_alert": {
		{config.Client, "", showsNone, "the target may want a certificate: --cert with --key"},
		{config.Client, "", nil, "does the target trust the CA of this certificate, and let its owner in?"},
	},
	"bad_tls_message":          {{config.Server, atHandshake, nil, "the client may have refused this certificate; what it says itself tells why"}},
	"starttls_refused":         {{text: "TLS has to be switched on at the target"}},
	"starttls_required":        {{text: "the client has to be told to use TLS"}},
	"starttls_malformed":       {{text: "is --starttls what is spoken here?"}},
	"proxy_header_missing":     {{text: "whoever --proxy-protocol-in names has to send a PROXY header first"}},
	"proxy_header_invalid":     {{text: "whoever --proxy-protocol-in names has to send a PROXY header first"}},
	"proxy_header_not_allowed": {{text: "--proxy-protocol-in names who may send PROXY headers"}},
	"announce_failed":          {{text: "does the target read what --proxy-protocol sends it?"}},

	// Where the target is.
	"timeout": {
		{"", atHeader, nil, "--connect-timeout is the limit; whoever --proxy-protocol-in names has to send a PROXY header first"},
		{"", atUpgrade, nil, "--connect-timeout is the limit; is --starttls what is spoken here?"},
		{config.Server, atHandshake, nil, "--connect-timeout is the limit; a client that waits to be greeted speaks no TLS, or needs --starttls"},
		{config.Client, atHandshake, nil, "--connect-timeout is the limit; is --target a port that speaks TLS?"},
		{"", atDial, nil, "--connect-timeout is the limit; a firewall on the way may drop what is sent"},
	},
	"connection_refused": {{text: "is the service running, and is it where --target says?"}},
	"no_such_socket":     {{text: "is the service running, and is its socket where --target says?"}},
	"unreachable":        {{stage: atDial, text: "is --target right? There is no way to it from here"}},
	"name_resolution":    {{text: "is the name in --target right, and known to the DNS of this machine?"}},
	"permission_denied":  {{text: "a socket of --target has to be writable for the user of this process, a port allowed by firewall and --landlock-allow"}},
	"proxy_unreachable":  {{text: "is the proxy running, and is it where --proxy says?"}},
	"proxy_tls":          {{text: "--proxy-cacert names the CA of the proxy's certificate, --proxy-cert what it is shown"}},
	"proxy_bad_gateway":  {{text: "is --target right, as seen from the proxy?"}},

	// What is limited.
	"too_many_files":       {{text: "allow more open files: LimitNOFILE= of a unit, or ulimit -n"}},
	"too_many_from_source": {{text: "--max-conns-per-ip is the limit"}},
	"body_too_large":       {{text: "--http-max-body-bytes is the limit"}},
	"too_many_requests":    {{text: "--http-max-requests is the limit"}},
	"request_timeout":      {{text: "--http-read-timeout is the limit"}},
	"client_stalled":       {{text: "--http-read-timeout is the limit"}},
	"request_stalled":      {{text: "--http-response-timeout is the limit"}},
	"response_timeout":     {{text: "--http-response-timeout is the limit"}},
	"bad_response": {
		{config.Server, "", speaksH2C, "does the target speak HTTP/2 without TLS, which --http-target-h2c is for?"},
		{config.Server, "", nil, "does the target speak HTTP/1.1? For gRPC there is --http-target-h2c"},
		{config.Client, "", nil, "does the target speak HTTP?"},
	},
}

// What hints go by.

func isPinned(c *config.Tunnel) bool { return len(c.Access.Pins) > 0 }

func asksWorkloadAPI(c *config.Tunnel) bool { return c.Identity.WorkloadAPI.Use }

func trustsSystem(c *config.Tunnel) bool { return c.CACert == "" }

func showsNone(c *config.Tunnel) bool { return c.SendsNoCertificate() }

func isOldTLS(c *config.Tunnel) bool { return c.TLS.MaxVersion == tls.VersionTLS12 }

func speaksH2C(c *config.Tunnel) bool { return c.Requests.TargetH2C }

// hintFor is what may help against a failure in a tunnel, in the words that its operator has for flags; "" is nothing.
func hintFor(c *config.Tunnel, stage, reason string) string {
	for _, h := range hints[reason] {
		if (h.mode == "" || h.mode == c.Mode) && (h.stage == "" || h.stage == stage) && (h.when == nil || h.when(c)) {
			return c.Origin.Worded(h.text)
		}
	}
	return ""
}

// hint is hintFor a client that asked for a server name.
func (t *tunnel) hint(stage, reason, serverName string) string {
	if t.routes != nil {
		if r := t.routes.find(serverName); r != nil {
			return hintFor(r.config, stage, reason)
		}
	}
	return hintFor(t.config, stage, reason)
}
