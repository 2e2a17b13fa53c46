//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package socket

import "testing"

func TestListenSharesATCPPort(t *testing.T) {
	t.Parallel()
	a := freePort(t, "127.0.0.1")
	first := listen(t, a)
	second := listen(t, a)
	if first.Addr().String() != second.Addr().String() {
		t.Errorf("listening on %v and %v, want one address", first.Addr(), second.Addr())
	}
}
