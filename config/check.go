package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// finish checks what the settings say together and gives the command.
func (d *draft) finish() (Command, error) {
	if d.command.set&inCerts != 0 {
		return &d.certs, nil
	}
	d.tunnel.Mode = Server
	judge := d.checkAccess
	if d.command.set == inClient {
		d.tunnel.Mode = Client
		judge = d.checkServerName
	}
	checks := []func() error{
		d.checkAddresses,
		d.checkIdentity,
		d.checkRevocation,
		judge,
		d.checkTLS,
		d.checkStatus,
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return nil, err
		}
	}
	d.tunnel.Name = string(d.tunnel.Mode)
	d.sidecar.Tunnels = []Tunnel{d.tunnel}
	if d.command.check {
		return &Check{Sidecar: &d.sidecar}, nil
	}
	return &d.sidecar, nil
}

func (d *draft) checkAddresses() error {
	t := &d.tunnel
	switch {
	case t.Listen.IsZero():
		return errors.New("--listen: missing; say where to accept, as HOST:PORT or unix:PATH")
	case t.Target.IsZero():
		return errors.New("--target: missing; say where to forward, as HOST:PORT or unix:PATH")
	case t.Listen == t.Target:
		return fmt.Errorf("%s and %s: both are %s, so that connections would go round in circles; change one", d.name("listen"), d.name("target"), t.Listen)
	case t.Mode == Server && t.Target.Network() == "tcp" && t.Target.Host() == "" && !d.unsafeTarget:
		return fmt.Errorf("%s %s: names no host; write localhost%[2]s", d.name("target"), t.Target)
	case t.Mode == Server && !t.Target.IsLocal() && !d.unsafeTarget:
		return fmt.Errorf("%s %s: would carry plaintext to another machine; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-target", d.name("target"), t.Target)
	case t.Mode == Client && !t.Listen.IsLocal() && !d.unsafeListen:
		return fmt.Errorf("%s %s: would accept plaintext from other machines; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-listen", d.name("listen"), t.Listen)
	}
	return nil
}

// checkAccess wants it said who may connect to a server, and said once.
func (d *draft) checkAccess() error {
	t := &d.tunnel
	var offered, given []string
	for i := range settings {
		s := &settings[i]
		if s.group != groupAccess || s.commands&inServer == 0 {
			continue
		}
		if !s.hidden {
			offered = append(offered, "--"+s.name)
		}
		// A switch may have been turned off: its field tells.
		if source, ok := d.from[s.name]; ok && !s.isSwitch() {
			given = append(given, source)
		}
	}
	if t.Access.All && len(given) > 0 {
		return fmt.Errorf("%s and %s: the first lets in everybody with a certificate; give one or the other", d.name("allow-all"), strings.Join(given, ", "))
	}
	if t.Access.All {
		given = append(given, d.name("allow-all"))
	}
	switch {
	case t.DisableAuthentication && len(given) > 0:
		return fmt.Errorf("%s and %s: without client certificates there is nobody to choose from; give one or the other", d.name("disable-authentication"), strings.Join(given, ", "))
	case len(given) == 0 && !t.DisableAuthentication:
		return fmt.Errorf("nobody may connect: give %s", either(offered))
	}
	return nil
}

func (d *draft) checkTLS() error {
	if slices.Contains(d.tunnel.TLS.CipherSuites, unsafeSuite) && !d.unsafeCipherSuites {
		return fmt.Errorf("%s: UNSAFE-AZURE needs --allow-unsafe-cipher-suites too", d.name("cipher-suites"))
	}
	return nil
}

func (d *draft) checkStatus() error {
	status := &d.sidecar.Status
	switch at := d.status.address; {
	case at.IsZero() && status.Pprof:
		return fmt.Errorf("%s: needs --status, which serves it", d.name("enable-pprof"))
	case at.IsZero() && status.Shutdown:
		return fmt.Errorf("%s: needs --status, which serves it", d.name("enable-shutdown"))
	case !at.IsZero() && at == d.tunnel.Listen:
		return fmt.Errorf("%s and %s: both are %s; change one", d.name("listen"), d.name("status"), at)
	}
	status.Listen = d.status.address
	// An identity is what HTTPS needs; client mode can be without.
	status.TLS = !status.Listen.IsZero() && !d.status.plain && !d.tunnel.SendsNoCertificate()
	if d.status.secure && !status.TLS {
		return fmt.Errorf("%s https://%s: HTTPS needs a certificate, and with %s there is none; write http://%[2]s", d.name("status"), status.Listen, d.name("disable-authentication"))
	}
	return nil
}

// checkServerName settles what name a client's target has to prove.
func (d *draft) checkServerName() error {
	t := &d.tunnel
	if t.ServerName == "" {
		// A zone says which interface to use on this machine; no certificate has one.
		t.ServerName, _, _ = strings.Cut(t.Target.Host(), "%")
	}
	// SVIDs have no host names: the Workload API's trust goes by SPIFFE IDs.
	if t.ServerName == "" && !t.Identity.WorkloadAPI.Use {
		return fmt.Errorf("%s %s: has no host name to verify; add --override-server-name NAME", d.name("target"), t.Target)
	}
	return nil
}

func (d *draft) checkRevocation() error {
	if d.tunnel.CloseRevoked && len(d.tunnel.CRLs) == 0 {
		return fmt.Errorf("%s: needs --crl, which says who is revoked", d.name("crl-close-revoked"))
	}
	return nil
}

// either lists alternatives, of which there are at least two: "a, b or c".
func either(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
