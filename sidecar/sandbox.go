package sidecar

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"sallyport/certloader"
	"sallyport/config"
	"sallyport/sandbox"
	"sallyport/socket"
)

// Where a URL leads that does not say.
const (
	httpPort  = 80
	httpsPort = 443
)

// confine puts the process into the sandbox, if it is to be in one. All is loaded by now, and nothing has been accepted.
func (s *Sidecar) confine() error {
	r := confinement(s.config)
	confined, err := enterSandbox(s.log, unconfined(s.config), r)
	if confined {
		s.fleet.confined = &r
	}
	return err
}

// enterSandbox puts the process into a sandbox, unless there is a reason to have none, and tells of it.
func enterSandbox(log *slog.Logger, without string, r sandbox.Rules) (confined bool, _ error) {
	if without != "" {
		log.Info("running without a sandbox", "reason", without)
		return false, nil
	}
	abi, err := sandbox.Enter(r)
	switch {
	case err != nil:
		return false, fmt.Errorf("setting up the sandbox: %w; --disable-landlock runs without", err)
	case abi == 0:
		log.Info("running without a sandbox", "reason", "this system has no Landlock")
	default:
		log.Info("running in a sandbox", "landlock_abi", abi)
	}
	return abi != 0, nil
}

// errConfined is what can be done about a sandbox that has become too small.
var errConfined = errors.New("the sandbox does not allow that, and is there for good; restart the process, and see --landlock-allow")

// allows refuses tunnels that need what the sandbox, if there is one, does not allow. To ask for all at once is little more work
// than for one.
func (f *fleet) allows(tunnels ...*config.Tunnel) error {
	if f.confined == nil {
		return nil
	}
	r := rules{}
	for _, c := range tunnels {
		r.tunnel(c)
	}
	if beyond := f.confined.Beyond(r.Rules); len(beyond) > 0 {
		return fmt.Errorf("needs %s: %w", strings.Join(beyond, ", "), errConfined)
	}
	return nil
}

// hinted adds what can be done to an error that may be the sandbox's.
func (f *fleet) hinted(err error) error {
	if f.confined == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; if its permissions are in order, %w", err, errConfined)
}

// disabledLandlock is the reason that an operator has to have no sandbox.
const disabledLandlock = "--disable-landlock"

// unconfined says why there is to be no sandbox; "" is that there is one.
func unconfined(c *config.Sidecar) string {
	if c.DisableLandlock {
		return disabledLandlock
	}
	for i := range c.Tunnels {
		if c.Tunnels[i].Identity.PKCS11.Module != "" {
			return "--pkcs11-module: nobody but the module knows what files and services it needs"
		}
	}
	return ""
}

// confinement is what the process has to be able to do, going by its configuration alone.
func confinement(c *config.Sidecar) sandbox.Rules {
	r := rules{sandbox.Rules{Itself: !c.Status.Listen.IsZero()}}
	r.listen(c.Status.Listen)
	if c.File != nil { // whose tunnels may come to have names of hosts, and targets that everybody trusts
		r.Files = append(r.Files, c.File.Path)
		r.Resolver, r.SystemTrust = true, true
	}
	r.allowance(c.LandlockAllow)
	r.Files = append(r.Files, doorFiles(&c.Status, &c.Tunnels[0])...)
	r.dial(c.Metrics.Graphite)
	r.url(c.Metrics.URL)
	r.manager(c.Manager)
	r.SystemLog = c.Log.Syslog
	for i := range c.Tunnels {
		r.tunnel(&c.Tunnels[i])
	}
	return r.Rules
}

// rules are those of a sandbox in the making.
type rules struct{ sandbox.Rules }

// tunnel allows what a tunnel needs.
func (r *rules) tunnel(t *config.Tunnel) {
	r.listen(t.Listen)
	r.reach(t)
	r.Files = append(r.Files, loadedFiles(t)...)
	r.workloadAPI(t.Identity.WorkloadAPI)
	r.acme(t)
	for _, served := range servedBy(t) {
		if served.CACert == "" && !served.Identity.WorkloadAPI.Use {
			r.SystemTrust = true
		}
	}
}

// allowance allows what the operator says may be needed later.
func (r *rules) allowance(a config.Allowance) {
	for _, dir := range a.Dirs {
		r.Files = append(r.Files, dir)
		r.ListenSockets = append(r.ListenSockets, filepath.Join(dir, "any")) // which stands for its directory
		r.DialSockets = append(r.DialSockets, dir)
	}
	for _, ports := range a.Ports {
		for port := int(ports.First); port <= int(ports.Last); port++ {
			r.ConnectPorts = append(r.ConnectPorts, portNumber(port))
			r.BindPorts = append(r.BindPorts, portNumber(port))
		}
	}
}

// listen allows to listen on an address, if it is one.
func (r *rules) listen(a socket.Address) {
	switch a.Network() {
	case "tcp":
		r.host(a.Host())
		r.BindPorts = append(r.BindPorts, portNumber(a.Port()))
	case "unix":
		r.ListenSockets = append(r.ListenSockets, a.Path())
	}
}

// dial allows to connect to an address.
func (r *rules) dial(a socket.Address) {
	switch a.Network() {
	case "tcp":
		r.host(a.Host())
		r.ConnectPorts = append(r.ConnectPorts, portNumber(a.Port()))
	case "unix":
		r.DialSockets = append(r.DialSockets, a.Path())
	}
}

// url allows to connect to where a URL leads, if it is one.
func (r *rules) url(at *url.URL) {
	if at == nil {
		return
	}
	r.host(at.Hostname())
	r.ConnectPorts = append(r.ConnectPorts, urlPort(at))
}

// reach allows to connect to a tunnel's targets, or to the proxy that does so in its place.
func (r *rules) reach(t *config.Tunnel) {
	for i := range t.Routes {
		for _, target := range t.Routes[i].Upstream.Targets {
			r.dial(target.Address)
		}
	}
	if t.Proxy.IsZero() {
		for _, target := range t.Upstream.Targets {
			r.dial(target.Address)
		}
		return
	}
	r.dial(t.Proxy.Address)
	if t.Proxy.Scheme == "https" && t.Proxy.CACert == "" {
		r.SystemTrust = true
	}
}

// host allows to look up a host, if it has a name.
func (r *rules) host(name string) {
	if _, err := netip.ParseAddr(name); err != nil && name != "" {
		r.Resolver = true
	}
}

// manager allows to come back to a service manager that has listened anew. An abstract socket is connected already; to allow
// that one would allow all.
func (r *rules) manager(m config.Manager) {
	if strings.HasPrefix(m.NotifySocket, "/") {
		r.DialSockets = append(r.DialSockets, m.NotifySocket)
	}
}

// workloadAPI allows to come back to an agent.
func (r *rules) workloadAPI(api config.WorkloadAPI) {
	at, err := url.Parse(api.Address)
	if err != nil || !api.Use {
		return // config lets no address pass that is none
	}
	switch at.Scheme {
	case "unix":
		r.DialSockets = append(r.DialSockets, at.Path+at.Opaque)
	case "tcp":
		r.ConnectPorts = append(r.ConnectPorts, urlPort(at))
	}
}

// acme allows to renew a certificate: to speak to the CA, to keep what it issues, and to see whether it is this process that
// listens where the CA validates.
func (r *rules) acme(t *config.Tunnel) {
	if t.Identity.ACME.Name == "" {
		return
	}
	r.Resolver, r.SystemTrust, r.Proxies = true, true, true
	r.WriteDirs = append(r.WriteDirs, certloader.ACMEStorage())
	r.ConnectPorts = append(r.ConnectPorts, httpsPort) // Let's Encrypt, whose test CA certmagic also asks
	if at, err := url.Parse(t.Identity.ACME.CA); err == nil {
		r.ConnectPorts = append(r.ConnectPorts, urlPort(at))
	}
	validated := uint16(httpsPort)
	if own := acmeOptions(t, nil).Port; own != 0 {
		validated = portNumber(own)
	}
	r.ConnectPorts = append(r.ConnectPorts, validated)
	r.BindPorts = append(r.BindPorts, validated)
}

// urlPort is the port that a URL leads to.
func urlPort(at *url.URL) uint16 {
	if n, err := strconv.ParseUint(at.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	if at.Scheme == "http" {
		return httpPort
	}
	return httpsPort
}

// portNumber is a port that config has checked.
func portNumber(n int) uint16 { return uint16(n) } //nolint:gosec // config lets no other number pass
