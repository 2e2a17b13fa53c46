package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
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

func parseDays(text string) (time.Duration, error) {
	const most = 36500 // a century; a Duration could hold some more
	days, err := strconv.Atoi(text)
	if err != nil || days < 1 || days > most {
		return 0, fmt.Errorf("not a number of days; use 1 to %d", most)
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// parseIssuedName reads a DNS name that a certificate is to be for.
func parseIssuedName(text string) (string, error) {
	if text == "" {
		return "", errEmpty
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return "", errors.New("an IP address, which is no DNS name; it goes with --ip")
	}
	return parseNamePattern(text)
}
