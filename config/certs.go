package config

import (
	"errors"
	"net/netip"
	"strings"
	"time"
)

// Certs is the work of `sallyport certs`: making a development CA and its
// identities in a directory.
type Certs struct {
	Dir                 string
	Name                string   // `certs issue`: the identity to make; "" is `certs init`
	OrganizationalUnits []string // of the identities, not of the CA
	DNSNames            []string
	IPs                 []netip.Addr
	URIs                []string      // absolute
	Lifetime            time.Duration // of every certificate, in whole days; 0: a year, or as long as the CA if that is less
	Password            Secret        // of the PKCS#12 files
	Force               bool          // replace files that are there
}

// parseIdentityName reads the name of an identity, which becomes the first
// part of its files' names.
func parseIdentityName(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("empty name")
	case text == "ca":
		return "", errors.New("the name of the CA itself; choose another")
	case strings.Trim(text, nameRunes) != "" || strings.ContainsAny(text[:1], ".-"):
		return "", errors.New("not a file's name; use letters, digits, and . _ - after the first")
	}
	return text, nil
}

const nameRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
