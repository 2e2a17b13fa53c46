package sidecar

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/config"
	"sallyport/sandbox"
	"sallyport/socket"
)

func TestNetstatIsConfinedToItself(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]sandbox.Rules{
		":9690":           {Itself: true, BindPorts: []uint16{9690}},
		"127.0.0.1:9690":  {Itself: true, BindPorts: []uint16{9690}},
		"unix:/run/s":     {Itself: true, ListenSockets: []string{"/run/s"}},
		"host.invalid:80": {Itself: true, BindPorts: []uint16{80}, Resolver: true},
	} {
		if diff := cmp.Diff(want, netstatConfinement(&config.Netstat{Listen: listenAddress(t, address)})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", address, diff)
		}
	}
}

func listenAddress(t *testing.T, text string) socket.Address {
	t.Helper()
	a, err := socket.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
