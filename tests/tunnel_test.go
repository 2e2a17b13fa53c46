package tests

import (
	"path/filepath"
	"testing"
)

// A tunnel is a client-mode and a server-mode process, one behind the other:
//
//	network, address -> client -> server -> a target
type tunnel struct {
	network, address string // where the client listens, as net.Dial takes it

	pki            *pki
	server, client *process
	serverAddress  string // where the server listens
}

// newTunnel starts a tunnel to a target; both its processes get args too. With
// network "unix" the client listens on a socket file, else on a port.
func newTunnel(t *testing.T, network, target string, args ...string) *tunnel {
	t.Helper()
	p := newPKI(t)
	tun := &tunnel{network: network, pki: p, serverAddress: reserve(t)}
	tun.server = startServer(t, p, tun.serverAddress, target, append([]string{"--allow-cn", "client"}, args...)...)

	listen := reserve(t)
	tun.address = listen
	if network == "unix" {
		tun.address = filepath.Join(t.TempDir(), "listen")
		listen = "unix:" + tun.address
	}
	tun.client = startClient(t, p, listen, tun.serverAddress, args...)
	return tun
}

// startServer starts sallyport in server mode with an identity and trust of p,
// a status port and, beside those, args.
func startServer(t *testing.T, p *pki, listen, target string, args ...string) *process {
	t.Helper()
	return start(t, serverLine(t, p, listen, target, append([]string{"--status", "http://" + reserve(t)}, args...)...)...)
}

// serverLine is the command line of server mode with an identity and trust of p
// and, beside those, args. It says neither who may connect nor how it is watched.
func serverLine(t *testing.T, p *pki, listen, target string, args ...string) []string {
	t.Helper()
	all := append([]string{"server", "--listen", listen, "--target", target, "--cacert", p.root}, p.server(t).flags()...)
	return append(all, args...)
}

// startClient is startServer for client mode.
func startClient(t *testing.T, p *pki, listen, target string, args ...string) *process {
	t.Helper()
	all := []string{
		"client", "--listen", listen, "--target", target,
		"--cacert", p.root, "--status", "http://" + reserve(t),
	}
	all = append(all, p.client(t).flags()...)
	return start(t, append(all, args...)...)
}

// stop drains both processes, the client's first, and fails the test unless
// both end cleanly.
func (tun *tunnel) stop(t *testing.T) {
	t.Helper()
	tun.client.stop(t)
	tun.server.stop(t)
}
