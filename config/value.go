package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"runtime"
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

// parseMode reads the permissions of a socket. To connect is to write.
func parseMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	switch {
	case err != nil || mode > uint64(fs.ModePerm):
		return 0, errors.New("not permissions; write three octal digits, such as 0660")
	case mode&0o222 == 0:
		return 0, errors.New("nobody could connect, which takes the permission to write; use 0600, 0660 or 0666")
	}
	return fs.FileMode(mode), nil
}

// parseOwner reads USER, USER:GROUP or :GROUP. Whether they exist is for those
// to find out who may open files.
func parseOwner(text string) (string, error) {
	user, group, grouped := strings.Cut(text, ":")
	if user+group == "" || grouped && group == "" || strings.ContainsFunc(text, isControl) || strings.Contains(group, ":") {
		return "", errors.New("not an owner; write USER, USER:GROUP or :GROUP")
	}
	return text, nil
}

func parsePositiveCount(text string) (int, error) {
	value, err := parseCount(text)
	if err == nil && value == 0 {
		err = errors.New("none at all; use 1 or more")
	}
	return value, err
}

func parseDays(text string) (time.Duration, error) {
	const most = 36500 // a century; a Duration could hold some more
	days, err := strconv.Atoi(text)
	if err != nil || days < 1 || days > most {
		return 0, fmt.Errorf("not a number of days; use 1 to %d", most)
	}
	return time.Duration(days) * 24 * time.Hour, nil
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
	if err == nil && (to.Network() != "tcp" || to.Host() == "") {
		return socket.Address{}, errors.New("not where a carbon listens; write HOST:PORT")
	}
	return to, err
}

// workloadAPIVariable is what the SPIFFE Workload Endpoint specification
// (section 4) calls the variable with the endpoint's address.
const workloadAPIVariable = "SPIFFE_ENDPOINT_SOCKET"

// parseWorkloadAPIAddress reads a URI as the SPIFFE Workload Endpoint
// specification, section 4, has it.
func parseWorkloadAPIAddress(text string) (string, error) {
	at, err := url.Parse(text)
	if err != nil || at.User != nil || at.RawQuery != "" || at.Fragment != "" {
		return "", errWorkloadAPIAddress
	}
	switch at.Scheme {
	case "unix":
		// unix:///PATH and, as go-spiffe has it too, unix:PATH.
		if at.Host == "" && at.Path+at.Opaque != "" {
			return text, nil
		}
	case "tcp":
		if addr, err := netip.ParseAddrPort(at.Host); err == nil && addr.Port() != 0 && at.Path == "" {
			return text, nil
		}
	case "npipe":
		if runtime.GOOS == "windows" && at.Opaque != "" {
			return text, nil
		}
	}
	return "", errWorkloadAPIAddress
}

var errWorkloadAPIAddress = errors.New("not the address of a Workload API; write unix:///PATH or tcp://IP:PORT")

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

func parseStartTLS(text string) (string, error) {
	switch text {
	case "postgres", "mysql", "ldap", "smtp":
		return text, nil
	}
	return "", errors.New("unknown protocol; use postgres, mysql, ldap or smtp")
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

// statusAddress is the value of --status.
type statusAddress struct {
	address socket.Address
	plain   bool // HTTP was asked for, by scheme or by UNIX socket
	secure  bool // HTTPS was asked for, by scheme
}

func parseStatusAddress(text string) (statusAddress, error) {
	scheme, rest, hasScheme := strings.Cut(text, "://")
	switch {
	case !hasScheme:
		rest = text
	case scheme != "http" && scheme != "https":
		return statusAddress{}, errors.New("unknown scheme; write http://HOST:PORT or https://HOST:PORT")
	default:
		rest = strings.TrimSuffix(rest, "/") // as a browser shows it
	}
	address, err := socket.ParseListenAddress(rest)
	if err != nil {
		return statusAddress{}, err
	}
	if hasScheme && address.Network() != "tcp" {
		return statusAddress{}, fmt.Errorf("a scheme goes with HOST:PORT alone; write %s without it", address)
	}
	isUNIX := address.Network() == "unix"
	return statusAddress{
		address: address,
		plain:   isUNIX || hasScheme && scheme == "http",
		secure:  hasScheme && scheme == "https",
	}, nil
}

func setQuiet(d *draft, text string) error {
	quiet := &d.sidecar.Log.Quiet
	switch text {
	case "all":
		quiet.All = true
	case "conns":
		quiet.Conns = true
	case "conn-errs":
		quiet.ConnErrors = true
	case "handshake-errs":
		quiet.HandshakeErrors = true
	default:
		return errors.New("no such kind of log line; use all, conns, conn-errs or handshake-errs")
	}
	return nil
}

func parseLogFormat(text string) (LogFormat, error) {
	switch format := LogFormat(text); format {
	case LogText, LogJSON:
		return format, nil
	}
	return "", errors.New("unknown format; use text or json")
}

func parseSyslog(text string) (bool, error) {
	on, err := parseSwitch(text)
	if on && runtime.GOOS == "windows" {
		return false, errors.New("this system has no syslog; leave it out to log to standard output")
	}
	return on, err
}

func parseLogLevel(text string) (slog.Level, error) {
	switch text {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("unknown level; use debug, info, warn or error")
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

func parseProtocol(text string) (Protocol, error) {
	switch p := Protocol(text); p {
	case TCP, HTTP:
		return p, nil
	}
	return "", errors.New("unknown protocol; use tcp or http")
}
