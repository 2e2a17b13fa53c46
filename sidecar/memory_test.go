package sidecar

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	allows := func(bytes uint64, err error) func() (uint64, error) {
		return func() (uint64, error) { return bytes, err }
	}
	tests := []struct {
		name       string
		byOperator string
		cgroup     func() (uint64, error)
		limit      int64
		from       string
		err        error
	}{
		{"a part of what the cgroup allows", "", allows(1000<<20, nil), 900 << 20, "cgroup", nil},
		{"the operator's stays", "128MiB", allows(1000<<20, nil), 0, "GOMEMLIMIT", nil},
		{"the operator wants none", "off", allows(1000<<20, nil), 0, "GOMEMLIMIT", nil},
		{"the cgroup allows all", "", allows(0, memlimit.ErrNoLimit), 0, "", nil},
		{"no cgroup", "", allows(0, memlimit.ErrNoCgroup), 0, "", nil},
		{"another system", "", allows(0, memlimit.ErrCgroupsNotSupported), 0, "", nil},
		{"no /proc", "", allows(0, fmt.Errorf("reading: %w", fs.ErrNotExist)), 0, "", nil},
		{"it cannot be told", "", allows(0, broken), 0, "", broken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			limit, from, err := memoryLimit(test.byOperator, test.cgroup)
			if limit != test.limit || from != test.from || !errors.Is(err, test.err) {
				t.Errorf("%d from %q, %v; want %d from %q, %v", limit, from, err, test.limit, test.from, test.err)
			}
		})
	}
}
