package upstream

import (
	"context"
	"hash/fnv"
	"math"
	"net"
	"net/netip"
)

// sourceKey is where a context has the address of a client.
type sourceKey struct{}

// WithSource returns a context for [Group.Dial] that says for whom a connection is made, which Source goes by.
func WithSource(ctx context.Context, client net.Addr) context.Context {
	return context.WithValue(ctx, sourceKey{}, client)
}

// sourceOf is the IP address of the client, as bytes; "" is nobody's.
func sourceOf(ctx context.Context) string {
	client, ok := ctx.Value(sourceKey{}).(net.Addr)
	if !ok {
		return ""
	}
	at, err := netip.ParseAddrPort(client.String())
	if err != nil {
		return ""
	}
	return string(at.Addr().Unmap().WithZone("").AsSlice())
}

// bySource chooses by rendezvous hashing: each member has a lot with each client, and the highest one wins. A member that goes
// leaves its clients to the others and theirs alone; one that comes takes some of each. Replicas with the same targets choose
// alike.
func bySource(among []*member, source string) *member {
	var best *member
	highest := math.Inf(-1)
	for _, m := range among {
		if lot := m.weight / -math.Log(fraction(source, m.name)); best == nil || lot > highest {
			best, highest = m, lot
		}
	}
	return best
}

// fraction is a number between 0 and 1, neither of which it is, that two texts make.
func fraction(a, b string) float64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(a))
	_, _ = hash.Write([]byte{0})
	_, _ = hash.Write([]byte(b))
	x := hash.Sum64()
	// FNV's upper bits hardly depend on the last bytes; this is the finalizer of SplitMix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return (float64(x>>11) + 0.5) / (1 << 53)
}
