package config

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport/socket"
)

// The functions below read one value each. Their errors say what is wrong and
// what to write; the draft adds where the value stood, and the value.

var (
	errEmpty       = errors.New("empty value; leave it out to set nothing")
	errUnprintable = errors.New("control character in the value")
)

func parseSwitch(text string) (bool, error) {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("not a switch; write true or false")
	}
	return on, nil
}

func parsePath(text string) (string, error) { return parseName(text) }

// parseName reads what a certificate, a file or a metric may be called. An
// empty name is refused because it would match certificates without one.
func parseName(text string) (string, error) {
	if text == "" {
		return "", errEmpty
	}
	if strings.ContainsFunc(text, isControl) {
		return "", errUnprintable
	}
	return text, nil
}

// parseQuery reads a query in Rego, which may go over several lines. Whoever
// asks it knows more of it.
func parseQuery(text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "", errEmpty
	}
	return text, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func parseSecret(text string) (Secret, error) { return Secret(text), nil }

func parseDuration(text string) (time.Duration, error) {
	value, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("not a duration; write it like 30s, 5m or 1h30m")
	}
	if value < 0 {
		return 0, errors.New("negative duration; use 0 or more")
	}
	return value, nil
}

// parseKeepAlive reads what systems can count: whole seconds, as many as Linux
// has room for (MAX_TCP_KEEPIDLE).
func parseKeepAlive(text string) (time.Duration, error) {
	value, err := parseDuration(text)
	if err == nil && value != 0 && (value < time.Second || value > 9*time.Hour) {
		err = errors.New("systems have no such keep-alive; use 0 for none, or 1s to 9h")
	}
	return value, err
}

func parsePositiveDuration(text string) (time.Duration, error) {
	value, err := parseDuration(text)
	if err == nil && value == 0 {
		err = errors.New("no time at all; use more than 0")
	}
	return value, err
}

func parseCount(text string) (int, error) {
	value, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, errors.New("not a count; use a whole number from 0 to 2147483647")
	}
	return int(value), nil
}

func parsePositiveCount(text string) (int, error) {
	value, err := parseCount(text)
	if err == nil && value == 0 {
		err = errors.New("none at all; use 1 or more")
	}
	return value, err
}

func parseIP(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, errors.New("not an IP address; write it like 192.0.2.1 or 2001:db8::1")
	}
	return addr.Unmap(), nil
}

func parseURI(text string) (string, error) {
	uri, err := url.Parse(text)
	if err != nil || uri.Scheme == "" {
		return "", errors.New("not a URI; write it like spiffe://example.org/web")
	}
	return text, nil
}

// parseStatusURL reads an absolute URL. It may hold a token, so no error shows
// any of it.
func parseStatusURL(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, errors.New("not a URL to GET; write http://HOST/PATH or https://HOST/PATH")
	}
	return target, nil
}

// parseMetricsURL reads an absolute URL. It may hold a password, so no error
// shows any of it.
func parseMetricsURL(text string) (*url.URL, error) {
	to, err := url.Parse(text)
	if err != nil || to.Hostname() == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, errors.New("not a URL to POST to; write http://HOST/PATH or https://HOST/PATH")
	}
	if to.Port() != "" {
		if _, err := parsePort(to.Port()); err != nil {
			return nil, errors.New("has a port that is none; use 1 to 65535")
		}
	}
	return to, nil
}

func parseGraphite(text string) (socket.Address, error) {
	to, err := socket.ParseAddress(text)
	if !strings.Contains(text, ":") || err == nil && (to.Network() != "tcp" || to.Host() == "") {
		return socket.Address{}, errors.New("not where a carbon listens; write HOST:PORT")
	}
	return to, err
}

func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("not a port; use 1 to 65535")
	}
	return int(port), nil
}

// parseServerName reads what a certificate is verified against.
func parseServerName(text string) (string, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return addr.String(), nil
	}
	// The rules for host names are those of addresses, so an address with some
	// port decides.
	addr, err := socket.ParseAddress(text + ":1")
	if err != nil || addr.Host() == "" {
		return "", errors.New("not a host name; write a name or an IP address without port")
	}
	return addr.Host(), nil
}
