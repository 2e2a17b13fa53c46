package metrics

import (
	"crypto/tls"
	"testing"
	"time"
)

// BenchmarkConnection is what taking down all of one connection costs.
func BenchmarkConnection(b *testing.B) {
	m := New(Options{Prefix: "ghostunnel", MaxIdentities: 100})
	defer m.Close()
	r := m.AddTunnel(Tunnel{Name: "server", Target: "localhost:80"})
	session := &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	b.ReportAllocs()
	took := time.Duration(0)
	for b.Loop() {
		took = (took + 12345) % time.Second
		r.Accepted()
		r.Handshake(took, session)
		r.Dialled(took)
		r.Opened("spiffe://example.org/alice")
		r.Closed(took, "eof")
	}
}
