package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"sallyport/socket"
)

// Status is the status port. The zero value is none.
type Status struct {
	Listen   socket.Address
	TLS      bool // serve HTTPS with the identity of the first tunnel that has one, if Listen turns out to be TCP; else plain HTTP
	Pprof    bool // serve /debug/pprof/
	Shutdown bool // serve /_shutdown

	TokenFile string // file with the token that clients must send, but to /, /livez and /readyz; "": none is asked for
	ClientCA  string // file with the CAs that clients' certificates must chain to; only with TLS; "": none is asked for
}

// LogValue is the status port for the log.
func (s Status) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("listen", s.Listen.String()),
		slog.Bool("tls", s.TLS),
		slog.Bool("pprof", s.Pprof),
		slog.Bool("shutdown", s.Shutdown),
		slog.String("token_file", s.TokenFile),
		slog.String("client_ca", s.ClientCA),
	)
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

// checkStatus wants the status port to be one that these tunnels can have.
func (d *draft) checkStatus(tunnels []*draft) error {
	status, at := &d.sidecar.Status, d.status.address
	for _, of := range []struct {
		flag  string
		given bool
	}{
		{"enable-pprof", status.Pprof},
		{"enable-shutdown", status.Shutdown},
		{"status-token-file", status.TokenFile != ""},
		{"status-client-ca", status.ClientCA != ""},
		{"netstat", d.sidecar.Netstat},
	} {
		if of.given && at.IsZero() {
			return fmt.Errorf("%s: needs --status, which it is about", d.name(of.flag))
		}
	}
	status.Listen = at
	// An identity is what HTTPS needs; client mode can be without.
	identified := slices.ContainsFunc(tunnels, func(t *draft) bool { return !t.tunnel.SendsNoCertificate() })
	status.TLS = !at.IsZero() && !d.status.plain && identified
	without := ""
	if len(tunnels) > 0 {
		without = tunnels[0].withoutIdentity()
	}
	switch {
	case len(tunnels) == 0: // for other reasons than these
	case d.status.secure && !status.TLS:
		return fmt.Errorf("%s https://%s: HTTPS needs a certificate, and with %s there is none; write http://%[2]s", d.name("status"), at, without)
	case status.ClientCA != "" && d.status.plain:
		return fmt.Errorf("%s and %s: certificates go with HTTPS, and that is plain HTTP; write --status HOST:PORT, or use --status-token-file", d.name("status-client-ca"), d.name("status"))
	case status.ClientCA != "" && !status.TLS:
		return fmt.Errorf("%s: certificates go with HTTPS, and with %s the status port has none; use --status-token-file", d.name("status-client-ca"), without)
	}
	return nil
}

// withoutIdentity is why a tunnel has no identity, if it has none.
func (d *draft) withoutIdentity() string {
	if d.tunnel.DisableTLS {
		return d.name("disable-tls")
	}
	if d.servesRoutesAlone() {
		return "certificates of " + keyRoutes + " alone"
	}
	return d.name("disable-authentication")
}
