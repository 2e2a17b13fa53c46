// Package proxy is the data path of one tunnel: it accepts connections, shakes hands where the accepting side is TLS, dials
// the target, and copies bytes both ways until both directions have ended.
//
//	server := &proxy.Server{
//		TLS:              serverConfig,                  // nil: the accepting side is plain
//		Dial:             dialTarget,                    // proxy.TLSDialer makes the target's side TLS
//		HandshakeTimeout: 10 * time.Second,
//		DialTimeout:      10 * time.Second,
//		CloseTimeout:     time.Minute,
//		Log:              log,
//	}
//	err := server.Serve(listener) // blocks; ErrServerClosed after Shutdown
//
// A connection goes through stages, each a method of conn with failure reasons of its own: handshake (which authorizes, in
// the TLS configuration's VerifyConnection), dial, splice. The target is dialled only for a peer that was let in. Where the
// PROXY protocol is spoken, its header is read before the handshake, and written after the dial. Where a protocol begins in
// plaintext and goes over to TLS, what it says before the handshake, and to the target before anything else, is a stage named
// upgrade.
// A TLS connection that negotiated acme-tls/1 ends after its handshake, with the reason acme_challenge: it is an ACME CA that
// validates a name (RFC 8737), which the TLS configuration may let in without a certificate.
//
// Where a protocol is to be understood rather than forwarded, Server.Handle gets the connection after its handshake. Clocks,
// limits and the drain go for it too.
//
// The package knows no configuration, no certificates and no metrics: it takes a *tls.Config, a dial function and the
// functions of an Observer.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrServerClosed is returned by Serve after Shutdown, and is the cause by which handshakes and dials in progress end then.
var ErrServerClosed = errors.New("the tunnel is shutting down")

// Server is one tunnel. Its fields must not change once Serve was called; the zero value of all but Dial is useful, and of that where there is a Route.
type Server struct {
	// TLS is the configuration of the handshake with whoever connects. Nil accepts plain connections.
	TLS *tls.Config

	// Dial connects to the target. It must return soon after its context ends. Required, unless Route is set.
	Dial func(context.Context) (net.Conn, error)

	// Handle takes the place of dialling and forwarding, for protocols that need to be understood: it is called with each
	// client that was let in, and the connection is over when it returns. It closes the client. When the context ends it is to
	// come to an end as soon as what is in progress is done: the server has begun to shut down, or MaxLifetime has passed.
	// What it connects to goes through Reacher, or StreamReacher. Nil forwards bytes.
	Handle func(ctx context.Context, client *Client)

	// Route returns where the connections of a client go that asked for a server name in its handshake, which is "" for one that
	// asked for none. It must agree with TLS on the names. That it returns nil refuses the client. Without Route all go to
	// Dial.
	Route func(serverName string) *Route

	// ConnContext makes the context of Dial, and of Upgrade's Dial, out of one that bounds it and the address of the client
	// that the connection is for, which is that of a PROXY header if there is one. Nil leaves it as it is.
	ConnContext func(ctx context.Context, client net.Addr) context.Context

	// Announce makes what the target is told about a connection before it gets anything else of it. Nil tells it nothing.
	Announce Announcement

	// HeaderFrom reports whether the connections of a peer begin with a PROXY header, of version 1 or 2, which then has to be
	// there: where it says the client is counts from then on. A header of anybody else is refused. Nil reads headers of nobody
	// and looks for none.
	HeaderFrom func(peer net.Addr) bool

	// Upgrade is called for each connection, and returns what is said on it beside TLS. Nil is nothing.
	Upgrade func() Upgrade

	// HandshakeTimeout bounds the handshake with whoever connects, what comes before it included. Zero or less is no
	// bound.
	HandshakeTimeout time.Duration

	// DialTimeout bounds Dial, a TLS handshake with the target and what Announce makes included. Zero or less is no bound.
	DialTimeout time.Duration

	// CloseTimeout is how long one direction may go on after the other has ended. Zero closes at once; less than zero
	// is no bound.
	CloseTimeout time.Duration

	// IdleTimeout closes a connection over which no byte went either way for that long. Zero or less is never.
	IdleTimeout time.Duration

	// MaxLifetime closes a connection this long after forwarding began. Zero or less is never. One that is handled is told,
	// and has CloseTimeout left.
	MaxLifetime time.Duration

	// MaxConns is how many connections may be in hand at once, those in a handshake included; more wait in the accept
	// queue of the listener. Zero or less is no limit.
	MaxConns int

	// MaxHandshakes is how many connections may be in a handshake with their client at once; more wait in the accept
	// queue of the listener. Without TLS it counts those on their way to the target, whose handshake is part of that.
	// Established connections do not count. Zero or less is no limit.
	MaxHandshakes int

	// MaxConnsPerIP is how many connections may be in hand at once from one IP address, which is that of a PROXY header if
	// there is one; more are closed as soon as it is known. Those over UNIX sockets have no address and no limit. Zero or
	// less is no limit.
	MaxConnsPerIP int

	// Gate bounds how many handshakes with clients compute at once, beside those of others that share it. TLSDialer
	// takes one for those with targets. Nil is no bound.
	Gate *Gate

	// LastID is the number of the latest connection, whose ID in the log it is. Servers that share one, such as a server and
	// the one that follows it on its listener, give no number twice. Nil is one of the server's own.
	LastID *atomic.Uint64

	// Observer is told what becomes of each connection. The zero value observes nothing.
	Observer Observer

	// Identify names the peer of a TLS connection in log lines, by the certificates it showed even if it was refused for
	// them. Nil leaves the name out.
	Identify func(tls.ConnectionState) string

	// Hint returns what may help against a failure, for the line that tells of it, by the stage and the reason that
	// Observer.Failed is told, or by no stage and the reason that Observer.Closed is told; "" is nothing. ServerName is what the
	// client asked for, as far as that is known. Nil has none.
	Hint func(stage, reason, serverName string) string

	// Log takes the events. Nil is silence.
	Log *slog.Logger

	// Quiet leaves out classes of events.
	Quiet Quiet

	// LogSample has only one in so many connections logged when it opens and when it closes, the first one first. Failures
	// are logged all the same. One or less is every one.
	LogSample int

	once     sync.Once
	ctx      context.Context // ends when Shutdown begins; handshakes and dials live under it
	cancel   context.CancelCauseFunc
	inviting context.Context // ends when no more connections are to be accepted
	uninvite context.CancelFunc
	staying  context.Context // ends when handled connections are to come to an end, which is when the listener is closed
	dismiss  context.CancelFunc
	served   chan struct{} // closed when Serve has come to its end
	slots    slots         // a place for each connection in hand, for MaxConns
	settling slots         // a place for each that MaxHandshakes counts
	pings    pings
	wakeable atomic.Pointer[interruptible] // the listener, if it is that; nil until Serve
	buffers  buffers
	verdict  atomic.Pointer[verdict] // of the latest Recheck; nil before
	conns    sync.WaitGroup

	mu         sync.Mutex
	closing    bool         // Shutdown has begun
	leaving    bool         // Drain has: the accept queue is served once more before the listener closes
	handedOver bool         // the listener is somebody else's
	listener   net.Listener // nil until Serve
	active     map[*conn]struct{}
	reached    map[*reached]struct{} // nil without Handle
	sources    sources
	total      int64
	bytesIn    int64 // of connections that have ended; see Bytes
	bytesOut   int64
}

// Quiet says which classes of events are left out of the log.
type Quiet uint8

// The classes; their sum is silence.
const (
	QuietConns         Quiet = 1 << iota // connections that open and close
	QuietConnErrs                        // failures to accept, to dial and to copy
	QuietHandshakeErrs                   // failures of handshakes, denials among them
)

func (s *Server) init() {
	s.once.Do(func() {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		s.inviting, s.uninvite = context.WithCancel(s.ctx)
		s.staying, s.dismiss = context.WithCancel(context.Background())
		s.served = make(chan struct{})
		if s.LastID == nil {
			s.LastID = new(atomic.Uint64)
		}
		s.slots, s.settling = newSlots(s.MaxConns), newSlots(s.MaxHandshakes)
		s.pings = make(pings, 1)
		s.sources.limit = s.MaxConnsPerIP
		if s.Log == nil {
			s.Log = slog.New(slog.DiscardHandler)
		}
		s.active = make(map[*conn]struct{})
	})
}
