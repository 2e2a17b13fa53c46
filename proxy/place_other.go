//go:build !unix

package proxy

// place is one of a Gate's.
type place struct{}

func newPlace() *place { return new(place) }

func (*place) close() {}

// yield does nothing: pipes do not wait at the network poller here.
func (*place) yield() {}
