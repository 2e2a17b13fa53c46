package config

import (
	"fmt"
	"slices"
	"strings"
)

// checkPlain settles a listener of server mode that speaks no TLS. Whatever is about
// certificates has no meaning there, and whoever set it may think that it has.
func (d *draft) checkPlain() error {
	t := &d.tunnel
	switch {
	case !t.DisableTLS && t.Mode == Server && d.unsafeListen:
		return fmt.Errorf("%s: is about plaintext, and --listen speaks TLS, so that it may be on any address; leave it out", d.name("unsafe-listen"))
	case !t.DisableTLS:
		return nil
	case t.Protocol != HTTP:
		return fmt.Errorf("%s: needs --protocol http; bytes that nobody looks into are better sent to the target at once", d.name("disable-tls"))
	case !t.Listen.IsLocal() && !d.unsafeListen:
		return fmt.Errorf("%s and %s %s: would accept plaintext from other machines; use localhost, 127.0.0.1, [::1] or unix:PATH, or add --unsafe-listen", d.name("disable-tls"), d.name("listen"), t.Listen)
	}
	if given := d.aboutTLS(); len(given) > 0 {
		return fmt.Errorf("%s and %s: without TLS there are no certificates, and no handshake; give one or the other", d.name("disable-tls"), strings.Join(given, ", "))
	}
	t.DisableAuthentication = true
	return nil
}

// aboutTLS are the settings that were given and mean something only where the
// listener speaks TLS.
func (d *draft) aboutTLS() []string {
	t := &d.tunnel
	// A switch may have been turned off: its field tells. What does no harm is left out.
	switches := map[string]bool{
		"allow-all":        t.Access.All,
		"auto-tls":         t.Identity.AutoTLS.Use,
		"use-workload-api": t.Identity.WorkloadAPI.Use,
	}
	without := []string{"cacert", "timed-reload", "cipher-suites", "max-tls-version"}
	var given []string
	for i := range settings {
		s := &settings[i]
		source, ok := d.from[s.name]
		if !ok || s.commands&inServer == 0 || s.isSwitch() && !switches[s.name] || slices.Contains(without, s.name) {
			continue
		}
		if source == workloadAPIVariable { // set for everybody on a machine
			continue
		}
		switch s.group {
		case groupIdentity, groupAccess, groupTLS:
			given = append(given, source)
		}
	}
	return given
}
