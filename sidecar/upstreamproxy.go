package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/proxy"
	"sallyport/socket"
)

// upstreamProxy is the proxy through which a tunnel reaches its targets, with what is loaded for it.
type upstreamProxy struct {
	tunnel      *config.Tunnel
	source      *certloader.Source // nil unless the proxy speaks TLS
	credentials atomic.Pointer[credentials]
}

// credentials are what a proxy is told about who asks. An empty user is nothing.
type credentials struct{ user, password string }

// newUpstreamProxy loads what the tunnel needs for its proxy. Without one it returns nil.
func newUpstreamProxy(ctx context.Context, c *config.Tunnel) (*upstreamProxy, error) {
	if c.Proxy.IsZero() {
		return nil, nil
	}
	p := &upstreamProxy{tunnel: c}
	if err := p.loadCredentials(); err != nil {
		return nil, err
	}
	if c.Proxy.Scheme != "https" {
		return p, nil
	}
	// What the target's CAs vouch for is the target: a proxy has to be trusted on its own account.
	var err error
	p.source, err = certloader.New(ctx, certloader.Files(certloader.FileOptions{
		FlagPrefix:   "proxy-",
		Cert:         c.Proxy.Cert,
		Key:          c.Proxy.Key,
		CABundle:     c.Proxy.CACert,
		Password:     string(c.Identity.Password),
		PasswordFile: c.Identity.PasswordFile,
	}))
	if err != nil {
		return nil, err
	}
	return p, nil
}

// proxyFiles are the files that are loaded for the tunnel's proxy.
func proxyFiles(c *config.Tunnel) []string {
	p := &c.Proxy
	files := []string{p.AuthFile, p.Cert, p.Key, p.CACert}
	if p.Key != "" {
		files = append(files, c.Identity.PasswordFile)
	}
	return files
}

func (p *upstreamProxy) loadCredentials() error {
	next := &credentials{p.tunnel.Proxy.User, string(p.tunnel.Proxy.Password)}
	if path := p.tunnel.Proxy.AuthFile; path != "" {
		var err error
		if next, err = readCredentials(path); err != nil {
			return fmt.Errorf("--proxy-auth-file %s: %w", path, err)
		}
	}
	p.credentials.Store(next)
	return nil
}

// readCredentials reads a file with USER:PASSWORD. The error holds neither.
func readCredentials(path string) (*credentials, error) {
	const most = 4 << 10 // so that a path to something endless is an error
	file, err := os.Open(path)
	if err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			err = failed.Err // the path is told already
		}
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, err
	}
	if len(data) > most {
		return nil, fmt.Errorf("larger than %d bytes; write USER:PASSWORD on one line", most)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	user, password, ok := strings.Cut(line, ":")
	if !ok {
		return nil, errors.New("no colon in it; write USER:PASSWORD on one line")
	}
	if err := socket.CheckCredentials(user, password); err != nil {
		return nil, err
	}
	return &credentials{user, password}, nil
}

// dialer returns what connects to a target through the proxy. Handshakes with the proxy go through the gate.
func (p *upstreamProxy) dialer(target socket.Address, gate *proxy.Gate) func(context.Context) (net.Conn, error) {
	c := &p.tunnel.Proxy
	via := &socket.Proxy{
		Protocol: socket.HTTPConnect,
		Name:     c.String(),
		Dial:     socket.Dialer(c.Address, p.tunnel.KeepAlive),
		Credentials: func() (user, password string) {
			known := p.credentials.Load()
			return known.user, known.password
		},
	}
	if c.Scheme == "socks5" {
		via.Protocol = socket.SOCKS5
	}
	if p.source != nil {
		config := p.clientConfig()
		via.Secure = func(ctx context.Context, conn net.Conn) (net.Conn, error) { return gate.Client(ctx, conn, config) }
	}
	return via.Dialer(target)
}

// named has the errors of what dials through the proxy name it, for it may be what is at fault: one that says yes and then
// sends a page of its own passes for a target that speaks no TLS. Nil leaves all as it is.
func (p *upstreamProxy) named(dial func(context.Context) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	if p == nil {
		return dial
	}
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil && !errors.As(err, new(*socket.ProxyError)) {
			err = fmt.Errorf("through proxy %s: %w", p.tunnel.Proxy, err)
		}
		return conn, err
	}
}

// clientConfig is how the proxy is spoken to over TLS. CONNECT is done in HTTP/1.1 alone. Nothing is resumed: there are proxies
// that fail then, such as Squid.
func (p *upstreamProxy) clientConfig() *tls.Config {
	return p.source.ClientConfig(certloader.ClientOptions{
		ServerName:   p.tunnel.Proxy.ServerName(),
		NextProtos:   []string{"http/1.1"},
		CipherSuites: p.tunnel.TLS.CipherSuites,
		MaxVersion:   p.tunnel.TLS.MaxVersion,
	})
}

// reload loads anew; what fails keeps what it had. Nil has nothing to load.
func (p *upstreamProxy) reload(ctx context.Context) error {
	if p == nil {
		return nil
	}
	err := p.loadCredentials()
	if p.source != nil {
		err = errors.Join(err, p.source.Reload(ctx))
	}
	return err
}

// proxyRole goes before the role of a certificate that is there for a proxy, so that nobody takes it for the tunnel's own.
const proxyRole = "proxy_"

// certificates are those that are in use for the proxy. Nil has none.
func (p *upstreamProxy) certificates() []certloader.Certificate {
	if p == nil || p.source == nil {
		return nil
	}
	all := p.source.Certificates()
	for i := range all {
		all[i].Role = proxyRole + all[i].Role
	}
	return all
}

// close lets go of what is held for the proxy. Nil holds nothing.
func (p *upstreamProxy) close() error {
	if p == nil || p.source == nil {
		return nil
	}
	return p.source.Close()
}
