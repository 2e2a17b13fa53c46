package config

import (
	"fmt"
	"slices"

	"sallyport/socket"
)

// finishFile checks what the settings of all tunnels say together.
func (d *draft) finishFile() error {
	f := d.file
	f.checkListeners()
	for _, t := range f.tunnels {
		faults := len(f.faults)
		if err := t.setAmbient(f.env); err != nil {
			f.faults = append(f.faults, t.origin.fault(err.Error()))
			continue
		}
		if err := t.setDefaults(); err != nil {
			return err
		}
		wrong := t.checkTunnel(d)
		f.judge(t, wrong, f.shared.broken, d.broken)
		f.finishRoutes(t, wrong)
		if !t.faulty && len(f.faults) == faults {
			d.sidecar.Tunnels = append(d.sidecar.Tunnels, t.tunnel)
		}
	}
	for _, err := range d.checkProcess(f.tunnels) {
		if text := err.Error(); !namesAny(text, d.broken) {
			f.faults = append(f.faults, d.origin.fault(text))
		}
	}
	d.sidecar.File = &File{Path: f.path, Origin: d.origin, read: d.again, texts: d.texts}
	if len(f.faults) > 0 {
		return newFaults(f.path, f.faults)
	}
	d.file = nil // the command is a part of d, and would keep it
	return nil
}

// judge takes down what was found wrong with a draft, but for what follows from
// settings that have been found wrong before: its own, or those in broken.
func (f *file) judge(d *draft, faults []error, broken ...[]string) {
	for _, err := range faults {
		if text := err.Error(); !namesAny(text, slices.Concat(append(broken, d.broken)...)) {
			f.faults = append(f.faults, d.origin.fault(text))
		}
	}
}

// checkListeners wants no two tunnels to listen at one place.
func (f *file) checkListeners() {
	for i, t := range f.tunnels {
		for _, other := range f.tunnels[:i] {
			if clash(t.tunnel.Listen, other.tunnel.Listen) {
				f.faults = append(f.faults, t.origin.fault(fmt.Sprintf("%s %s: is where tunnel %s of line %d listens already; choose another",
					t.name("listen"), t.tunnel.Listen, other.tunnel.Name, other.origin.whole.line)))
				t.faulty = true
				break
			}
		}
	}
}

// clash tells whether two sockets cannot listen at the same time.
func clash(a, b socket.Address) bool {
	if a == b {
		return !a.IsZero()
	}
	anywhere := func(a socket.Address) bool { return a.Host() == "" || a.Host() == "0.0.0.0" || a.Host() == "::" }
	return a.Network() == "tcp" && b.Network() == "tcp" && a.Port() == b.Port() && (anywhere(a) || anywhere(b))
}
