package proxy

import (
	"log/slog"
	"time"
)

// challengeProtocol is what an ACME CA negotiates by ALPN to validate a name. The handshake is all it comes for, and it needs
// no client certificate: the connection must be closed then and there (RFC 8737, section 3).
const challengeProtocol = "acme-tls/1"

// challengeLinger bounds the end of such a connection, for a peer that reads nothing.
const challengeLinger = time.Second

// challenged reports whether the handshake that the client has completed was an ACME challenge, and says goodbye if so. No
// field of the Server decides about this, so that none can be forgotten: what negotiated that protocol is never forwarded.
func (c *conn) challenged() bool {
	if c.client.tls == nil || c.peer.protocol != challengeProtocol {
		return false
	}
	c.end(reasonChallenge)
	c.log(QuietConns, slog.LevelInfo, "answered ACME challenge")
	_ = c.client.socket.SetWriteDeadline(time.Now().Add(challengeLinger))
	c.client.endWriting()
	return true
}
