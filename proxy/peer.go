package proxy

import (
	"crypto/tls"
	"log/slog"

	"sallyport/internal/peertext"
)

// peer is what a TLS handshake told of the other side, as it is shown. It is made once for a connection.
type peer struct {
	identity   string // "" if it showed no certificate
	serverName string
	protocol   string // by ALPN
	version    string // of TLS
}

// describe makes a peer of the state of its session.
func (s *Server) describe(state *tls.ConnectionState) *peer {
	p := &peer{
		serverName: peertext.Cut(state.ServerName),
		protocol:   peertext.Cut(state.NegotiatedProtocol),
		version:    tls.VersionName(state.Version),
	}
	if s.Identify != nil && len(state.PeerCertificates) > 0 {
		p.identity = peertext.Cut(s.Identify(*state))
	}
	return p
}

// attrs describes the peer in log lines, by what is known of it. Nil is no peer.
func (p *peer) attrs() []slog.Attr {
	if p == nil {
		return nil
	}
	attrs := make([]slog.Attr, 0, 4)
	for _, known := range []struct{ key, value string }{
		{"identity", p.identity},
		{"server_name", p.serverName},
		{"alpn", p.protocol},
		{"tls_version", p.version},
	} {
		if known.value != "" {
			attrs = append(attrs, slog.String(known.key, known.value))
		}
	}
	return attrs
}
