package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"sallyport/socket"
)

// UpstreamProxy is a proxy of somebody else's, through which the target is
// reached. The zero value is none.
type UpstreamProxy struct {
	Scheme   string // http, https or socks5
	Address  socket.Address
	User     string // "": none, or it is in AuthFile
	Password Secret
	AuthFile string // file with USER:PASSWORD

	Cert, Key string // files with the certificate that an https proxy is shown, and its key; "": none is
	CACert    string // file of the CAs that an https proxy must chain to; "": the system's
}

// IsZero tells whether there is no proxy.
func (p UpstreamProxy) IsZero() bool { return p.Address.IsZero() }

// String is the proxy's URL without user and password.
func (p UpstreamProxy) String() string { return p.Scheme + "://" + p.Address.String() }

// ServerName is what an https proxy's certificate must be for.
func (p UpstreamProxy) ServerName() string { return withoutZone(p.Address.Host()) }

// LogValue is the proxy for the log, without its password.
func (p UpstreamProxy) LogValue() slog.Value {
	if p.IsZero() {
		return slog.StringValue("none")
	}
	return slog.GroupValue(
		slog.String("url", p.String()),
		slog.String("user", p.User),
		slog.String("auth_file", p.AuthFile),
		slog.String("cert", p.Cert),
		slog.String("key", p.Key),
		slog.String("cacert", p.CACert),
	)
}

// proxyPorts are where proxies are if their URLs do not say.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080"}

var errProxyURL = errors.New("not a proxy; write http://[USER:PASSWORD@]HOST[:PORT], https://… or socks5://…")

// setProxy reads the URL of a proxy. It may hold a password, so no error shows
// any of it.
func setProxy(d *draft, text string) error {
	at, err := url.Parse(text)
	if err != nil || at.Opaque != "" || at.Hostname() == "" {
		return errProxyURL
	}
	if at.Path != "" && at.Path != "/" || at.RawQuery != "" || at.Fragment != "" {
		return errors.New("a proxy has no path; write HOST:PORT and nothing behind it")
	}
	p := &d.tunnel.Proxy
	p.Scheme = at.Scheme
	if p.Scheme == "socks5h" { // how curl asks for what is done in any case: the proxy looks up names
		p.Scheme = "socks5"
	}
	if proxyPorts[p.Scheme] == "" {
		return errors.New("unknown scheme; write http://, https:// or socks5://")
	}
	if p.Address, err = socket.ParseAddress(net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), proxyPorts[p.Scheme]))); err != nil {
		return errProxyURL
	}
	if at.User == nil {
		return nil
	}
	password, _ := at.User.Password()
	p.User, p.Password = at.User.Username(), Secret(password)
	return socket.CheckCredentials(p.User, password)
}

// checkProxy wants of a proxy what it has a use for, and a target that a proxy
// can reach.
func (d *draft) checkProxy() error {
	p := &d.tunnel.Proxy
	for _, of := range []struct {
		flag  string
		given bool
		https bool // it has to do with TLS
	}{
		{"proxy-auth-file", p.AuthFile != "", false},
		{"proxy-cert", p.Cert != "", true},
		{"proxy-key", p.Key != "", true},
		{"proxy-cacert", p.CACert != "", true},
	} {
		switch {
		case of.given && p.IsZero():
			return fmt.Errorf("%s: needs --proxy, which it is about", d.name(of.flag))
		case of.given && of.https && p.Scheme != "https":
			return fmt.Errorf("%s: needs a proxy that speaks TLS, and %s names one at %s://; write https://", d.name(of.flag), d.name("proxy"), p.Scheme)
		}
	}
	if p.IsZero() {
		return nil
	}
	switch {
	case (p.Cert == "") != (p.Key == ""):
		return fmt.Errorf("%s and %s: one without the other; give both", d.name("proxy-cert"), d.name("proxy-key"))
	case p.User != "" && p.AuthFile != "":
		return fmt.Errorf("%s and %s: both have a user and a password; give one or the other", d.name("proxy"), d.name("proxy-auth-file"))
	case p.Address == d.tunnel.Listen:
		return fmt.Errorf("%s and %s: both are %s, so that connections would go round in circles; change one", d.name("listen"), d.name("proxy"), p.Address)
	}
	for _, t := range d.tunnel.Upstream.Targets {
		ip, _ := netip.ParseAddr(t.Address.Host())
		switch {
		case t.Address.Network() != "tcp" || t.Address.Host() == "":
			return fmt.Errorf("%s %s: is of this machine, which no proxy can reach; write HOST:PORT, or leave out %s", d.name("target"), t.Address, d.name("proxy"))
		case ip.Zone() != "":
			return fmt.Errorf("%s %s: the zone means nothing to a proxy; leave out %%%s", d.name("target"), t.Address, ip.Zone())
		}
	}
	return nil
}

// withoutZone is a host name as a certificate has it: a zone says which interface
// of this machine to use.
func withoutZone(host string) string {
	host, _, _ = strings.Cut(host, "%")
	return host
}
