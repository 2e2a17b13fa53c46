package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"sallyport/auth"
	"sallyport/certloader"
	"sallyport/config"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/socket"
	"sallyport/status"
	"sallyport/upstream"
)

// tunnel is one listener with its targets, put together.
type tunnel struct {
	config   *config.Tunnel
	source   *certloader.Source
	policy   *policy.Policy // nil: none is asked
	proxy    *upstreamProxy // nil: targets are reached directly
	targets  *targets
	routes   *routes // nil: all clients are served alike
	server   *proxy.Server
	web      *web // nil: it forwards bytes
	check    *status.Check
	listener net.Listener  // nil until listen; the server closes it
	owner    *socket.Owner // of the listener's file; nil: the process

	pending *pending // what its files hold

	portOnce sync.Once
	port     *tls.Config // see asPort

	log *slog.Logger
}

// newTunnel loads what the tunnel needs, resolves its targets and puts its parts together. It opens no listener.
func newTunnel(
	ctx context.Context, c *config.Tunnel, process *config.Sidecar, watcher *certloader.Watcher, gate *proxy.Gate, log *slog.Logger,
) (*tunnel, error) {
	t := &tunnel{config: c, log: log.With("tunnel", c.Name)}
	t.log.Debug("configured", "config", c)
	if err := t.load(ctx, watcher); err != nil {
		return nil, err
	}
	if c.Identity.PKCS11.Module != "" {
		gate = nil // to wait for the signature of a token is not to compute, and must not keep others from it
	}
	t.server = t.newServer(process, gate)
	var err error
	if t.targets, err = t.newTargets(&c.Upstream, gate); err != nil {
		return nil, errors.Join(err, t.unload())
	}
	t.server.Dial, t.server.Upgrade = t.targets.dial, t.targets.upgrades()
	run := t.targets.check
	if err := t.newRoutes(ctx, gate); err != nil {
		return nil, errors.Join(err, t.unload())
	}
	if t.routes != nil {
		run = t.routes.check
	}
	if c.Protocol == config.HTTP {
		t.web = t.newWeb()
	}
	if slices.ContainsFunc(t.allTargets(), (*targets).goBySource) {
		t.server.ConnContext = upstream.WithSource
	}
	t.check = status.NewCheck(run, c.ConnectTimeout)
	return t, nil
}

// load loads identity, trust, policy and what is for a proxy, once it is known that the targets can be found. An error leaves
// nothing open.
func (t *tunnel) load(ctx context.Context, watcher *certloader.Watcher) error {
	c := t.config
	if err := resolve(ctx, c); err != nil {
		return err
	}
	t.pending = newPending(loadedFiles(c))
	var err error
	if t.owner, err = lookUpOwner(c); err != nil {
		return err
	}
	if t.policy, err = loadPolicy(ctx, c); err != nil {
		return err
	}
	provider, err := newProvider(ctx, c, t.log)
	if err != nil {
		return err
	}
	if t.source, err = certloader.New(ctx, watcher.Watch(completed(provider, c), loadedFiles(c))); err != nil {
		return err
	}
	if err := namesOfOneDomain(c, t.source); err != nil {
		return errors.Join(err, t.source.Close())
	}
	if t.proxy, err = newUpstreamProxy(ctx, c); err != nil {
		return errors.Join(err, t.source.Close())
	}
	warnOfEveryID(c, t.log)
	if open := openTicketKeys(c.TLS.TicketKeys); open != "" {
		t.log.Warn("--session-ticket-keys: "+open, "path", c.TLS.TicketKeys)
	}
	return nil
}

// newServer makes the server of the tunnel, which does not know yet where connections go.
func (t *tunnel) newServer(process *config.Sidecar, gate *proxy.Gate) *proxy.Server {
	c := t.config
	server := &proxy.Server{
		Hint:             t.hint,
		HandshakeTimeout: c.ConnectTimeout,
		DialTimeout:      c.ConnectTimeout,
		CloseTimeout:     c.CloseTimeout,
		IdleTimeout:      c.IdleTimeout,
		MaxLifetime:      c.MaxConnLifetime,
		MaxConns:         c.MaxConns,
		MaxHandshakes:    c.MaxHandshakes,
		MaxConnsPerIP:    c.MaxConnsPerIP,
		Announce:         announcement(c.Announce),
		HeaderFrom:       headerFrom(c.HeaderPeers),
		Gate:             gate,
		Identify:         auth.Identity,
		Log:              t.log,
		Quiet:            quiet(process.Log.Quiet),
		LogSample:        process.Log.Sample,
	}
	if c.Mode == config.Server && !c.DisableTLS {
		server.TLS = t.source.ServerConfig(serverOptions(c, t.source, t.policy))
	}
	return server
}

// lookUpOwner finds out who the listener's file is to belong to. In the sandbox that can no longer be looked up.
func lookUpOwner(c *config.Tunnel) (*socket.Owner, error) {
	if c.ListenOwner == "" {
		return nil, nil //nolint:nilnil // nobody in particular
	}
	owner, err := socket.LookUpOwner(c.ListenOwner)
	if err != nil {
		return nil, fmt.Errorf("--listen-owner %s: %w", c.ListenOwner, err)
	}
	return &owner, nil
}

// reload loads anew, and closes the connections of those that are revoked by now, if that is wanted. Identity with trust is one
// thing that succeeds or fails, the policy is another, and what is for a proxy a third: none has to wait for another to be
// mended. The policy goes last, after what watches its files has noted what is in them.
func (t *tunnel) reload(ctx context.Context) error {
	before := t.pending.now()
	err := errors.Join(t.source.Reload(ctx), t.proxy.reload(ctx), t.reloadPolicy(ctx), t.routes.reload(ctx, t))
	t.closeRevoked()
	if t.web != nil {
		t.web.refresh() // what was loaded goes for requests that follow, on whatever connection
	}
	if err == nil {
		t.pending.succeeded(before)
	}
	return err
}

// closeRevoked closes the connections of those who are revoked by now, if that is wanted.
func (t *tunnel) closeRevoked() {
	if !t.config.CloseRevoked {
		return
	}
	if closed := t.server.Recheck(t.revoked); closed > 0 {
		t.log.Info("closed connections of peers that are revoked", "connections", closed)
	}
}

// name is unique among tunnels.
func (t *tunnel) name() string { return t.config.Name }

// news receives when a reload would bring something new.
func (t *tunnel) news() <-chan struct{} { return t.source.Changed() }

// dialer connects to a target.
type dialer = func(context.Context) (net.Conn, error)

// serverOptions says how clients are served. Names among the access flags are those of trust's domain.
func serverOptions(c *config.Tunnel, trust *certloader.Source, asked *policy.Policy) certloader.ServerOptions {
	options := certloader.ServerOptions{
		NextProtos:   c.TLS.Protocols,
		CipherSuites: c.TLS.CipherSuites,
		MaxVersion:   c.TLS.MaxVersion,
		NoResumption: !c.TLS.Resumption,
		Challenges:   true, // proxy.Server forwards nothing for them
	}
	switch pins := c.Access.Pins; {
	case c.DisableAuthentication:
	case len(pins) > 0:
		options.Pinned = auth.Pins(pins...)
	case asked != nil:
		options.AuthorizeFrom = orPolicy(authorizer(c.Access, trust), asked)
	default:
		options.Authorize = authorizer(c.Access, trust)
	}
	return options
}

func (t *tunnel) clientOptions(serverName string) certloader.ClientOptions {
	options := certloader.ClientOptions{
		ServerName:   serverName,
		NextProtos:   t.config.TLS.Protocols,
		CipherSuites: t.config.TLS.CipherSuites,
		MaxVersion:   t.config.TLS.MaxVersion,
	}
	switch pins := t.config.Access.Pins; {
	case len(pins) > 0:
		options.Pinned = auth.Pins(pins...)
	case t.policy != nil:
		options.AuthorizeFrom = orPolicy(authorizer(t.config.Access, t.source), t.policy)
	case !t.config.Access.IsZero():
		options.Authorize = authorizer(t.config.Access, t.source)
	}
	return options
}

// challengeLimit bounds how long a listener waits for the end of a validation, and challengeLook is the time between two looks.
const (
	challengeLimit = 10 * time.Second
	challengeLook  = 50 * time.Millisecond
)

// listen opens the tunnel's listener: connections queue from here on, and are accepted by serve. With an ACME CA the port may be
// taken for a moment: a certificate that is due for renewal at the start is validated there.
func (t *tunnel) listen(ctx context.Context, activation *socket.Activation) error {
	ln, err := t.bind(ctx, activation)
	for began := time.Now(); t.config.Identity.ACME.Name != "" && errors.Is(err, syscall.EADDRINUSE) && time.Since(began) < challengeLimit; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(challengeLook):
		}
		ln, err = t.bind(ctx, activation)
	}
	if err != nil {
		return fmt.Errorf("--listen %s: %w", t.config.Listen, err)
	}
	t.listener = ln
	return nil
}

func (t *tunnel) bind(ctx context.Context, activation *socket.Activation) (net.Listener, error) {
	return socket.Listen(ctx, t.config.Listen, socket.ListenOptions{
		KeepAlive:  t.config.KeepAlive,
		Mode:       t.config.ListenMode,
		Owner:      t.owner,
		Activation: activation,
	})
}

// follows refuses to take the listener over from a tunnel that has opened it with other permissions: the file may belong to
// somebody else by now.
func (t *tunnel) follows(from *tunnel) error {
	if t.config.ListenMode != from.config.ListenMode || t.config.ListenOwner != from.config.ListenOwner {
		return fmt.Errorf("--listen %s: permissions and owner of a socket that is in use stay; restart the process, or choose another path", t.config.Listen)
	}
	return nil
}

// serve blocks until the tunnel was drained, or its listener gives up; the latter is an error.
func (t *tunnel) serve(ln net.Listener) error {
	err := t.server.Serve(breakable(ln))
	if errors.Is(err, proxy.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("--listen %s: %w", t.config.Listen, err)
}

// close lets go of what the tunnel holds beside its connections.
func (t *tunnel) close() error {
	t.check.Close()
	var closing error
	if t.listener != nil {
		if err := t.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			closing = fmt.Errorf("closing --listen %s: %w", t.config.Listen, err)
		}
	}
	if t.web != nil {
		t.web.close()
	}
	return errors.Join(closing, t.unload())
}

// unload lets go of what was loaded, and of the targets.
func (t *tunnel) unload() error {
	t.targets.close()
	return errors.Join(t.source.Close(), t.routes.close(), t.proxy.close())
}

// asPort is how the status port speaks TLS with the tunnel's identity, as config makes it the first time.
func (t *tunnel) asPort(config func() *tls.Config) *tls.Config {
	t.portOnce.Do(func() { t.port = config() })
	return t.port
}

// certificates are all that the tunnel uses now, those for its proxy last.
func (t *tunnel) certificates() []certificate {
	var all []certificate
	for _, cert := range append(t.source.Certificates(), t.proxy.certificates()...) {
		all = append(all, certificate{Certificate: cert})
	}
	return append(all, t.routes.certificates(all)...)
}

// crls are all revocation lists that the tunnel uses now.
func (t *tunnel) crls() []certloader.CRL { return append(t.source.CRLs(), t.routes.crls()...) }

// shownCertificates are those for the status port.
func (t *tunnel) shownCertificates() []status.Certificate {
	var out []status.Certificate
	for _, c := range t.certificates() {
		out = append(out, status.Certificate{Route: c.route, Role: c.Role, Subject: c.Subject, Serial: c.Serial, NotAfter: c.NotAfter})
	}
	return out
}
