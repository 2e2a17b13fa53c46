package config

import (
	"fmt"
	"strings"
)

// checkPins wants pins to stand alone: what a pin says about a peer is all that
// is looked at, so that whatever else was asked for would not be.
func (d *draft) checkPins() error {
	t := &d.tunnel
	if len(t.Access.Pins) == 0 {
		return nil
	}
	pins := "allow-spki-pin"
	if t.Mode == Client {
		pins = "verify-spki-pin"
	}
	var given []string
	for i := range settings {
		s := &settings[i]
		if s.group != groupAccess || s.commands&d.command.set == 0 || s.isSwitch() ||
			s.name == pins || s.name == "override-server-name" { // which is still what the target is asked for
			continue
		}
		if source, ok := d.from[s.name]; ok {
			given = append(given, source)
		}
	}
	switch {
	case len(given) > 0:
		return fmt.Errorf("%s and %s: a pin decides alone, whatever else the certificate says; give one or the other", d.name(pins), strings.Join(given, ", "))
	case t.Identity.WorkloadAPI.Use:
		return fmt.Errorf("%s and %s: the Workload API says whom to trust, and changes keys; use %s", d.name(pins), d.name("use-workload-api"), strings.TrimSuffix("--"+pins, "spki-pin")+"uri")
	case len(t.CRLs) > 0:
		return fmt.Errorf("%s and %s: a pin decides alone, so that nobody would look at the revocation list; give one or the other", d.name(pins), d.name("crl"))
	}
	return nil
}
