package config

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// ACME is a certificate that an ACME CA (RFC 8555) issues, where Name is set.
// Its terms of service have been agreed to.
type ACME struct {
	Name               string        // DNS name
	Email              string        // of the account
	CA                 string        // URL of its directory; "": Let's Encrypt's
	RenewCheckInterval time.Duration // 0: as the library has it
	ALPNPort           int           // where connections to port 443 end up; 0: where --listen is
}

// parseDNSName reads the name of a host that is not an IP address.
func parseDNSName(text string) (string, error) {
	name, err := parseServerName(text)
	name = strings.TrimSuffix(name, ".")
	if _, notIP := netip.ParseAddr(name); err != nil || notIP == nil || strings.Contains("."+name+".", "..") {
		return "", errors.New("not a DNS name; write it like web.example.com")
	}
	return name, nil
}

// parseEmail reads an address without a name beside it.
func parseEmail(text string) (string, error) {
	address, err := mail.ParseAddress(text)
	if err != nil || address.Address != text {
		return "", errors.New("not an e-mail address; write it like ops@example.com")
	}
	return text, nil
}

// parseACMEDirectory reads the URL of an ACME server's directory. RFC 8555,
// section 6.1, wants HTTPS.
func parseACMEDirectory(text string) (string, error) {
	at, err := url.Parse(text)
	if err != nil || at.Scheme != "https" || at.Host == "" {
		return "", errors.New("not the URL of an ACME directory; write https://HOST/PATH")
	}
	return text, nil
}

func (d *draft) checkACME() error {
	acme := &d.tunnel.Identity.ACME
	if acme.Name == "" {
		flags := []string{"email", "agree-to-tos", "ca", "testca", "renew-check-interval", "alt-tls-alpn-port"}
		for _, flag := range flags {
			if source, given := d.from["auto-acme-"+flag]; given && (flag != "agree-to-tos" || d.acmeAgreed) {
				return fmt.Errorf("%s: needs --auto-acme-cert, the name to get a certificate for", source)
			}
		}
		return nil
	}
	var lacks []string
	if acme.Email == "" {
		lacks = append(lacks, "--auto-acme-email")
	}
	if !d.acmeAgreed {
		lacks = append(lacks, "--auto-acme-agree-to-tos")
	}
	if len(lacks) > 0 {
		return fmt.Errorf("%s: needs %s too", d.name("auto-acme-cert"), strings.Join(lacks, " and "))
	}
	if d.acmeTestCA != "" {
		acme.CA = d.acmeTestCA
	}
	return nil
}
