//go:build unix

package proxy

import (
	"net"
	"runtime"
	"testing"
)

// A place lets those go first whom the network has something for, though there always is somebody else who can run.
func TestPlaceYieldsToThoseWhomTheNetworkHasSomethingFor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(near, far)
	_ = ln.Close()

	read := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		read <- err
	}()
	place := newPlace()
	defer place.close()
	place.yield() // the reader waits for the network now
	mustWrite(t, far, "x")
	for turn := range 100 {
		place.yield()
		select {
		case err := <-read:
			if err != nil || turn > 1 {
				t.Errorf("the reader had its turn after %d others: %v", turn, err)
			}
			return
		default:
		}
	}
	t.Error("the reader did not have its turn")
}
