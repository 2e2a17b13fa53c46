//go:build !faults

package sidecar

import "net"

// breakable is a listener that tests can break, in a binary that is built for that; see fault.go.
func breakable(ln net.Listener) net.Listener { return ln }
