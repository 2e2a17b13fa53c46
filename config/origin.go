package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Origin is where a tunnel, or what belongs to the process, stands in a
// configuration file.
type Origin struct {
	path    string
	process bool             // what belongs to the process, which flags beside the file may say
	whole   place            // of all of it
	about   string           // "tunnel web: ", before what is wrong with all of it
	places  map[string]place // of the keys
}

// Locate adds to an error where in the file that stands which it is about: the
// key, if the error begins with the flag of that name, else the tunnel. A nil
// Origin, which is that of a command line, leaves it as it is.
func (o *Origin) Locate(err error) error {
	if o == nil || err == nil {
		return err
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var located []error
		for _, err := range several.Unwrap() {
			located = append(located, o.Locate(err))
		}
		return errors.Join(located...)
	}
	if _, located := errors.AsType[*locatedError](err); located {
		return err // in something that o is about
	}
	f := o.fault(err.Error())
	if f.line == 0 {
		return err
	}
	return &locatedError{fmt.Sprintf("%s:%d:%d: %s", o.path, f.line, f.column, f.text), err}
}

// Worded has a text that speaks of flags speak of the keys of the file, but for
// what belongs to the process and was a flag beside it. A nil Origin, which is that
// of a command line, leaves it as it is.
func (o *Origin) Worded(text string) string {
	if o == nil {
		return text
	}
	return replaceFlags(text, func(s *setting) bool {
		_, isKey := o.places[s.name]
		return isKey || !o.process // whose keys may be defaults
	})
}

// locatedError is an error with the place in a file that it is about.
type locatedError struct {
	text string
	err  error
}

func (e *locatedError) Error() string { return e.text }
func (e *locatedError) Unwrap() error { return e.err }

// keyInFront is what an error begins with that is about one key: its source, or
// its flag.
var keyInFront = regexp.MustCompile(`^(?:--([a-z0-9-]+)|([a-z0-9-]+) \(line [0-9]+\))`)

// fault finds the place that a text is about.
func (o *Origin) fault(text string) fault {
	at, about := o.whole, o.about
	if found := keyInFront.FindStringSubmatch(text); found != nil {
		name := found[1] + found[2]
		if key, ok := o.places[name]; ok {
			at, about, text = key, "", name+strings.TrimPrefix(text, found[0])
		}
	}
	if at.line == 0 { // what belongs to the process, and was a flag
		return fault{text: text}
	}
	return fault{at, about + inKeys(text)}
}

// source is what a key is called in errors that are about more than one.
func (p place) source(name string) string { return fmt.Sprintf("%s (line %d)", name, p.line) }

// flagInText is a flag that a text names. What the operator wrote is in quotes,
// and so not preceded by a blank.
var flagInText = regexp.MustCompile(`(^|[ (])--([a-z][a-z0-9-]*[a-z0-9])`)

// inKeys has a text that speaks of flags speak of the keys of a file.
func inKeys(text string) string {
	return replaceFlags(text, func(*setting) bool { return true })
}

// replaceFlags puts keys in place of those flags in a text that are any.
func replaceFlags(text string, isKey func(*setting) bool) string {
	return flagInText.ReplaceAllStringFunc(text, func(found string) string {
		before, name, _ := strings.Cut(found, "--")
		s := findFlag(name)
		switch {
		case s == nil || s.flagOnly || !isKey(s):
			return found
		case s.isSwitch() && s.name == name:
			return before + name + ": true"
		case s.isSwitch():
			return before + s.name + ": false"
		}
		return before + name
	})
}

// namesAny tells whether a text is about one of these settings.
func namesAny(text string, settings []string) bool {
	for _, name := range settings {
		if strings.Contains(text, name+" (line ") {
			return true
		}
		for _, found := range flagInText.FindAllStringSubmatch(text, -1) {
			if found[2] == name {
				return true
			}
		}
	}
	return false
}
