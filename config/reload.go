package config

import (
	"reflect"
	"slices"
)

// File is the configuration file that a Sidecar was read from.
type File struct {
	Path   string
	Origin *Origin // for errors about what belongs to the process
	Faults Faults  // what is wrong with it, where it is only checked; the Sidecar has those tunnels then that it is not about

	read  func() (Command, error)
	texts map[string][]Secret // what belongs to the process, by flag, as it was given
}

// Read reads the file anew, beside the flags and variables that the process was
// started with, and gives what it says now. What is wrong with it is Faults.
func (f *File) Read() (*Sidecar, error) {
	command, err := f.read()
	if err != nil {
		return nil, err
	}
	if check, ok := command.(*Check); ok {
		return check.Sidecar, nil
	}
	return command.(*Sidecar), nil //nolint:forcetypeassert // these two alone have a file
}

// Changed names what belongs to the process and is not the same in two readings
// of a file, by key.
func (f *File) Changed(other *File) []string {
	var names []string
	for i := range settings {
		s := &settings[i]
		if findKey(s.name, inRun) == s && !slices.Equal(f.given(s), other.given(s)) {
			names = append(names, s.name)
		}
	}
	return names
}

// given is what a setting was given, or what it is without that.
func (f *File) given(s *setting) []Secret {
	texts := f.texts[s.name]
	switch {
	case len(texts) > 0 || s.repeats:
		return texts
	case s.isSwitch() && s.initial == "":
		return []Secret{"false"}
	}
	return []Secret{Secret(s.initial)}
}

// Equal tells whether two tunnels are the same, wherever they stand.
func (t *Tunnel) Equal(other *Tunnel) bool {
	a, b := t.nowhere(), other.nowhere()
	return reflect.DeepEqual(a, b)
}

// nowhere is the tunnel without its place in a file.
func (t *Tunnel) nowhere() Tunnel {
	out := *t
	out.Origin = nil
	out.Routes = slices.Clone(t.Routes)
	for i := range out.Routes {
		out.Routes[i].Tunnel = out.Routes[i].nowhere()
	}
	return out
}
