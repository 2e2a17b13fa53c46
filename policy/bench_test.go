package policy_test

import "testing"

func BenchmarkAuthorizer(b *testing.B) {
	p := load(b, file(b, v0), query)
	state := peer(b, alice)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Authorizer(from)(state); err != nil {
			b.Fatal(err)
		}
	}
}
