package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/socket"
)

// finish checks what the settings say together and gives the command.
func (d *draft) finish() (Command, error) {
	if d.command.set&inCerts != 0 {
		return &d.certs, nil
	}
	if d.command.set&inQuery != 0 {
		return d.checkStatusQuery()
	}
	if d.command.set == inNetstat {
		d.netstat.Log, d.netstat.DisableLandlock = d.sidecar.Log, d.sidecar.DisableLandlock
		return &d.netstat, nil
	}
	err := d.finishTunnels()
	if faults, ok := errors.AsType[Faults](err); ok && d.command.check {
		d.sidecar.File.Faults, err = faults, nil // for what is to be told with those of the files that it names
	}
	if err != nil {
		return nil, err
	}
	if d.command.check {
		return &Check{Sidecar: &d.sidecar, Ghostunnel: d.ghostunnel}, nil
	}
	return &d.sidecar, nil
}

// finishTunnels checks the tunnels, those of a file or the one of a command
// line, together with what belongs to the process.
func (d *draft) finishTunnels() error {
	if d.command.set == inRun {
		return d.finishFile()
	}
	faults := append(d.checkTunnel(d), d.checkProcess([]*draft{d})...)
	if len(faults) > 0 {
		return faults[0]
	}
	d.sidecar.Tunnels = []Tunnel{d.tunnel}
	return nil
}

// checkTunnel checks the tunnel of a draft, beside what belongs to the process,
// and gives all that is wrong.
func (d *draft) checkTunnel(process *draft) []error {
	t := &d.tunnel
	t.Mode = Server
	judge := d.checkAccess
	if d.command.set == inClient {
		t.Mode = Client
		judge = d.checkServerName
	}
	t.Name = cmp.Or(t.Name, string(t.Mode))
	checks := []func() error{
		d.checkAddresses,
		d.checkUpstream,
		d.checkListenFile,
		d.checkPlain,
		d.checkProxyProtocol,
		d.checkIdentity,
		d.checkRevocation,
		d.checkPolicy,
		d.checkProxy,
		judge,
		d.checkPins,
		d.checkTLS,
		d.checkHTTP,
	}
	var faults []error
	for _, check := range checks {
		faults = appendFaults(faults, check())
	}
	if at := process.status.address; !at.IsZero() && at == t.Listen {
		faults = append(faults, fmt.Errorf("%s and %s: both are %s; change one", d.name("listen"), process.name("status"), at))
	}
	return faults
}

// checkProcess checks what belongs to the process together with its tunnels, and
// gives all that is wrong.
func (d *draft) checkProcess(tunnels []*draft) []error {
	return appendFaults(appendFaults(nil, d.checkStatus(tunnels)), d.checkCompat(tunnels))
}

// appendFaults adds what a check has found, which may be several things.
func appendFaults(faults []error, err error) []error {
	switch err := err.(type) { //nolint:errorlint // one that joins, and not one that wraps it
	case nil:
		return faults
	case interface{ Unwrap() []error }:
		return append(faults, err.Unwrap()...)
	}
	return append(faults, err)
}

func (d *draft) checkAddresses() error {
	t := &d.tunnel
	var missing []error
	if t.Listen.IsZero() {
		missing = append(missing, errors.New("--listen: missing; say where to accept, as HOST:PORT or unix:PATH"))
	}
	if t.Upstream.IsZero() && len(d.routes) == 0 {
		missing = append(missing, errors.New("--target: missing; say where to forward, as HOST:PORT or unix:PATH"))
	}
	if len(missing) > 0 {
		return errors.Join(missing...)
	}
	for _, target := range t.Upstream.Targets {
		if err := d.checkTarget(target.Address); err != nil {
			return err
		}
	}
	if t.Mode == Client && !t.Listen.IsLocal() && !d.unsafeListen {
		return fmt.Errorf("%s %s: would accept plaintext from other machines; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-listen", d.name("listen"), t.Listen)
	}
	return nil
}

// leadsTo tells whether what connects to a local address comes out at a
// listener of this machine, however the two are written.
func leadsTo(at, listen socket.Address) bool {
	if at.Network() != "tcp" || listen.Network() != "tcp" || at.Port() != listen.Port() || !at.IsLocal() {
		return false
	}
	ipv4, ipv6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	to := []netip.Addr{ipv4, ipv6} // what localhost is to those who connect
	if ip, err := netip.ParseAddr(at.Host()); err == nil {
		to = []netip.Addr{ip}
	}
	on, err := netip.ParseAddr(listen.Host())
	switch {
	case listen.Host() == "", err == nil && on.Is6() && on.IsUnspecified():
		return true
	case err == nil && on.IsUnspecified():
		return to[0].Is4()
	case err != nil && listen.IsLocal():
		on = ipv4 // and to those who listen
	}
	return slices.Contains(to, on)
}

// checkTarget wants a target that is somebody else, and safe to send plaintext to.
func (d *draft) checkTarget(at socket.Address) error {
	t := &d.tunnel
	switch {
	case t.Listen == at:
		return fmt.Errorf("%s and %s: both are %s, so that connections would go round in circles; change one", d.name("listen"), d.name("target"), at)
	case t.Mode == Client && t.Proxy.IsZero() && leadsTo(at, t.Listen):
		return fmt.Errorf("%s %s: leads to %s %s, so that connections would go round in circles; change one", d.name("target"), at, d.name("listen"), t.Listen)
	case t.Mode == Server && at.Network() == "tcp" && at.Host() == "" && !d.unsafeTarget:
		return fmt.Errorf("%s %s: names no host; write localhost%[2]s", d.name("target"), at)
	case t.Mode == Server && !at.IsLocal() && !d.unsafeTarget:
		return fmt.Errorf("%s %s: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-target", d.name("target"), at)
	}
	return nil
}

// checkServerName settles what name each of a client's targets has to prove.
func (d *draft) checkServerName() error {
	t := &d.tunnel
	for i := range t.Upstream.Targets {
		target := &t.Upstream.Targets[i]
		target.ServerName = cmp.Or(d.overrideServerName, withoutZone(target.Address.Host()))
		// SVIDs have no host names: the Workload API's trust goes by SPIFFE IDs.
		// Pins go by no names at all.
		if target.ServerName == "" && !t.Identity.WorkloadAPI.Use && len(t.Access.Pins) == 0 {
			return fmt.Errorf("%s %s: has no host name to verify; add --override-server-name NAME", d.name("target"), target.Address)
		}
	}
	return nil
}

func (d *draft) checkRevocation() error {
	listed := slices.ContainsFunc(d.routes, func(r *draft) bool { return len(r.tunnel.CRLs) > 0 })
	if d.tunnel.CloseRevoked && len(d.tunnel.CRLs) == 0 && !listed {
		return fmt.Errorf("%s: needs --crl, which says who is revoked", d.name("crl-close-revoked"))
	}
	return nil
}

// either lists alternatives, of which there are at least two: "a, b or c".
func either(names []string) string { return listed(names, " or ") }

// listed joins names by commas, and the last one by a word: "a, b or c".
func listed(names []string, word string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + strings.Repeat(word, min(last, 1)) + names[last]
}
