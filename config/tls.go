package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// TLS holds the choices left to an operator. The zero value is not one that
// Parse returns: CipherSuites is never empty there.
type TLS struct {
	CipherSuites []uint16 // of TLS 1.2, as crypto/tls numbers them; TLS 1.3 has a fixed set
	MaxVersion   uint16   // as crypto/tls numbers it; 0: the newest
	Protocols    []string // offered by ALPN, the best first; none: no ALPN
	Resumption   bool     // sessions may be resumed
	TicketKeys   string   // server mode: file of the keys that session tickets are sealed with; "": the tunnel's own
}

func parseTLSVersion(text string) (uint16, error) {
	switch text {
	case "TLS1.2":
		return tls.VersionTLS12, nil
	case "TLS1.3":
		return tls.VersionTLS13, nil
	}
	return 0, errors.New("unknown version; use TLS1.2 or TLS1.3")
}

// unsafeSuite authenticates its data before it encrypts them (RFC 7366 tells
// what is wrong with that). One cloud database offers nothing better.
const unsafeSuite = tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256

// parseCipherSuites reads names of families, separated by commas, into the
// suites of TLS 1.2 in order of preference.
func parseCipherSuites(text string) ([]uint16, error) {
	var suites []uint16
	for name := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(name) {
		case "AES":
			suites = append(suites,
				tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
				tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
				tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
				tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
		case "CHACHA":
			suites = append(suites,
				tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
				tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)
		case "UNSAFE-AZURE":
			suites = append(suites, unsafeSuite)
		default:
			return nil, fmt.Errorf("unknown cipher suites %q; use AES, CHACHA or both, by comma", name)
		}
	}
	return suites, nil
}

// challengeProtocol is what ACME CAs validate names with (RFC 8737).
const challengeProtocol = "acme-tls/1"

// parseALPN reads the name of an application protocol (RFC 7301, 3.1).
func parseALPN(text string) (string, error) {
	const longest = 255
	switch {
	case len(text) > longest:
		return "", fmt.Errorf("longer than the %d bytes that a protocol's name has", longest)
	case text == challengeProtocol:
		return "", errors.New("the protocol of ACME CAs, which nothing is forwarded for; --auto-acme-cert offers it where it is due")
	}
	return parseName(text)
}

func parseStartTLS(text string) (string, error) {
	switch text {
	case "postgres", "mysql", "ldap", "smtp":
		return text, nil
	}
	return "", errors.New("unknown protocol; use postgres, mysql, ldap or smtp")
}

func (d *draft) checkTLS() error {
	t := &d.tunnel
	switch acme := &t.Identity.ACME; {
	case t.StartTLS == "":
	case t.TargetStatus != nil:
		return fmt.Errorf("%s and %s: a target that speaks %s answers no GET; drop the second", d.name("starttls"), d.name("target-status"), t.StartTLS)
	case acme.Name != "" && (acme.ALPNPort == 0 || acme.ALPNPort == t.Listen.Port()):
		return fmt.Errorf("%s and %s: the CA expects TLS from the first byte on --listen; name another port with --auto-acme-alt-tls-alpn-port, or get the certificate in another way", d.name("starttls"), d.name("auto-acme-cert"))
	}
	if t.DisableTLS && len(d.routes)+len(d.identities) > 0 {
		return fmt.Errorf("%s: without TLS nobody asks for a server name, and nobody is shown a certificate; leave out %s and %s", d.name("disable-tls"), keyRoutes, keyIdentities)
	}
	if t.TLS.TicketKeys != "" && !t.TLS.Resumption {
		return fmt.Errorf("%s and --no-resumption: without resumption there are no tickets; give one or the other", d.name("session-ticket-keys"))
	}
	if slices.Contains(d.tunnel.TLS.CipherSuites, unsafeSuite) && !d.unsafeCipherSuites {
		return fmt.Errorf("%s: UNSAFE-AZURE needs --allow-unsafe-cipher-suites too", d.name("cipher-suites"))
	}
	return nil
}
