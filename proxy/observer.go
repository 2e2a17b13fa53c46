package proxy

import (
	"crypto/tls"
	"time"
)

// Observer is told what becomes of each connection, each thing once. A nil function is not called, so that an Observer of none
// costs nothing. The functions are called from many goroutines at once and should return quickly. What moves while a connection
// lives is not told but can be asked for: Server.Counts, Server.Bytes, Server.Connections.
type Observer struct {
	// Accepted: a connection came in.
	Accepted func()
	// Failed: a connection ended before anything was forwarded. Stage is accept, limit, header, upgrade, handshake, dial or
	// announce; an accept failure has no connection, so that no Accepted preceded and no Closed follows.
	Failed func(stage, reason string)
	// Handshake: a TLS handshake took this long, with whoever connected or with the target. Session is what came of it; nil
	// if it failed, which Failed tells more of.
	Handshake func(took time.Duration, session *tls.ConnectionState)
	// Dialled: connecting to the target took this long, whether or not it succeeded, a TLS handshake with it not included.
	Dialled func(took time.Duration)
	// Opened: the target is connected and forwarding begins. Identity names the TLS peer; it is "" if there is none, or
	// none that showed a certificate.
	Opened func(identity string)
	// Closed: an accepted connection ended, this long after it was accepted. It is called once for each, and comes
	// after Failed for those that failed.
	Closed func(lifetime time.Duration, reason string)
}
