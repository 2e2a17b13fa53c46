package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxFaults is how many faults of one file are told.
const maxFaults = 100

// Faults is all that is wrong with a configuration: an error for each fault. In
// those of a file, which are in its order, FILE:LINE:COLUMN goes before the key.
type Faults []error //nolint:errname // faults are what a file has

// Error is all of them on one line.
func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives the faults.
func (f Faults) Unwrap() []error { return f }

// fault is one thing that is wrong with a file.
type fault struct {
	place
	text string
}

// newFaults puts faults in order. What is wrong with a default is so for each
// tunnel, and told once.
func newFaults(path string, faults []fault) Faults {
	slices.SortStableFunc(faults, func(a, b fault) int { return a.compare(b.place) })
	faults = slices.Compact(faults)
	var out Faults
	for i, f := range faults {
		if i == maxFaults {
			return append(out, fmt.Errorf("%s: and more; mend these first", path))
		}
		if f.line == 0 { // nothing in the file, but a flag beside it
			out = append(out, errors.New(f.text))
			continue
		}
		out = append(out, fmt.Errorf("%s:%d:%d: %s", path, f.line, f.column, f.text))
	}
	return out
}
