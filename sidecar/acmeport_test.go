package sidecar

import (
	"net"
	"testing"
	"time"

	"sallyport/config"
	"sallyport/socket"
)

// A certificate that is due for renewal at the start is validated at the tunnel's port.
func TestListenerWaitsForTheEndOfAValidation(t *testing.T) {
	t.Parallel()
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, err := socket.ParseAddress(held.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other := &tunnel{config: &config.Tunnel{Listen: address}}
	if err := other.listen(t.Context(), nil); err == nil {
		t.Fatal("without an ACME CA, it listens where somebody else does")
	}
	time.AfterFunc(3*challengeLook, func() { _ = held.Close() })
	waiting := &tunnel{config: &config.Tunnel{Listen: address, Identity: config.Identity{ACME: config.ACME{Name: "a.test"}}}}
	if err := waiting.listen(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := waiting.listener.Close(); err != nil {
		t.Error(err)
	}
}
