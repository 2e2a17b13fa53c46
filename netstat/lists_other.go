//go:build !linux

package netstat

import (
	"errors"
	"fmt"
	"runtime"
)

// system fails: the lists are Linux's.
func system() (read func(tcp6 bool) ([]entry, error), chosen portRange, err error) {
	return nil, portRange{}, fmt.Errorf("connections are listed on Linux alone, and this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
