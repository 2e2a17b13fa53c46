package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// conn is one connection on its way through the stages. One goroutine runs serve; splice adds one for the second direction.
type conn struct {
	server   *Server
	id       uint64
	accepted time.Time
	remote   net.Addr   // from where the client connected: that of the socket, or what a PROXY header says; as peer
	local    net.Addr   // to where it did, likewise
	headed   bool       // it begins with a PROXY header
	counted  netip.Addr // in server.sources; the zero Addr if it is not
	crowded  error      // there are too many from that address
	settling bool       // it has a slot of server.settling; serve alone uses this
	client   *side      // who connected
	target   *side      // nil until dialled
	peer     *peer      // nil until the handshake that makes it known is over; serve alone writes this, with mu held
	route    *Route     // nil if there is none, or until its name is known; serve alone writes this, with mu held
	pass     *pass      // of the client's handshake; serve alone uses this
	passed   *verdict   // the latest Recheck that both have passed
	upgrades Upgrade    // what is said beside TLS; nothing, if Server.Upgrade is nil

	up, down direction // client to target, target to client
	patience patience  // with the client; of a connection that is handled

	mu       sync.Mutex
	state    State  // how far it has come, until the target is connected
	reason   string // why it ended; the first one stands
	remark   string // what is to be told of it if nothing ended it but its two ends
	finished bool   // both sides are closed, or just about to be
	handled  bool   // Server.Handle has it
	idle     *time.Timer
	lifetime *time.Timer
	closing  *time.Timer
	parting  sync.WaitGroup // what remains to be done to close both
}

func newConn(s *Server, accepted net.Conn) *conn {
	c := &conn{
		server:   s,
		id:       s.LastID.Add(1),
		accepted: time.Now(),
		remote:   accepted.RemoteAddr(),
		local:    accepted.LocalAddr(),
		settling: true,
		state:    StateHandshake,
		client:   newSide(accepted),
		passed:   s.verdict.Load(),
	}
	switch {
	case s.HeaderFrom == nil:
	case s.HeaderFrom(c.remote):
		c.headed = true
	case s.TLS == nil || s.Upgrade != nil:
		c.client.Conn = &guard{Conn: accepted}
	}
	if s.Upgrade != nil {
		c.upgrades = s.Upgrade()
	}
	return c
}

// serve takes the connection through its stages, and leaves nothing of it behind.
func (c *conn) serve() {
	if accepted := c.server.Observer.Accepted; accepted != nil {
		accepted()
	}
	defer c.finish()

	if c.crowded != nil {
		c.fail(stageLimit, c.crowded)
		return
	}
	if stage, err := c.receive(); err != nil {
		c.fail(stage, err)
		return
	}
	if c.challenged() {
		return
	}
	if c.server.Handle != nil {
		c.handle()
		return
	}
	if err := c.dial(); err != nil {
		c.fail(stageOf(err), err)
		return
	}
	c.settled() // without TLS toward the client, dialling is what has to be over
	c.open()
	c.splice()
}

// receive takes the client in: it reads who it is, if it stands behind a proxy, and shakes hands. One time limit goes for all of
// it.
func (c *conn) receive() (stage string, _ error) {
	if c.server.TLS == nil && !c.headed {
		return "", nil
	}
	ctx, cancel := bounded(c.server.ctx, c.server.HandshakeTimeout)
	defer cancel()
	if stage, err := c.readHeader(ctx); err != nil {
		return stage, err
	}
	err := c.handshake(ctx)
	return stageOf(err), err
}

// handshake makes the client's side TLS, if that is what the server does, and has the peer authorized by it. What the protocol
// says before is a stage of its own.
func (c *conn) handshake(ctx context.Context) error {
	if c.server.TLS == nil {
		return nil
	}
	if err := c.upgrade(ctx); err != nil {
		return err
	}
	socket := c.client.socket
	under := newWire(socket, &c.server.buffers)
	under.remote = c.remote
	session := tls.Server(under, c.server.TLS)
	c.pass = c.server.Gate.pass(ctx)
	if err := shake(ctx, session, under, false, c.pass); err != nil {
		c.observeHandshake(under.took, nil)
		state := session.ConnectionState()
		err = &handshakeError{err: c.strayed(err, &state), took: under.took, silent: !under.received, peer: state}
		lingerAfterAlert(ctx, socket, c.pass, err)
		return err
	}
	c.pass.leave()
	c.pass = nil // and with it the handshake's context
	c.settled()
	client := newSide(session)
	c.mu.Lock()
	c.client = client
	c.mu.Unlock()
	c.met(client)
	return c.routed(session)
}

// met takes note of the peer with whom a TLS handshake was completed, if the side is TLS.
func (c *conn) met(s *side) {
	if s.tls == nil {
		return
	}
	state := s.tls.ConnectionState()
	met := c.server.describe(&state)
	c.mu.Lock()
	if c.peer == nil {
		c.peer = met
	}
	c.mu.Unlock()
	if s.wire != nil {
		c.observeHandshake(s.wire.took, &state)
	}
}

func (c *conn) observeHandshake(took time.Duration, session *tls.ConnectionState) {
	if handshake := c.server.Observer.Handshake; handshake != nil {
		handshake(took, session)
	}
}

// settled gives up what MaxHandshakes counts, unless that was done before.
func (c *conn) settled() {
	if c.settling {
		c.settling = false
		c.server.settling.give()
	}
}

// dial connects the target's side.
func (c *conn) dial() error {
	ctx, cancel := bounded(c.server.ctx, c.server.DialTimeout)
	defer cancel()

	if c.server.ConnContext != nil {
		ctx = c.server.ConnContext(ctx, c.remote)
	}
	c.enter(StateDial)
	started := time.Now()
	dialled, err := c.reach(ctx)
	took := time.Since(started)
	if err != nil {
		if failed, ok := errors.AsType[*handshakeError](err); ok {
			c.observeHandshake(failed.took, nil)
			took -= failed.took
		}
		c.observeDial(took)
		// Dialers report the end of their context in words of their own; what matters is who ended it.
		if cause := context.Cause(ctx); cause != nil && !errors.As(err, new(*interruptedError)) && !errors.As(err, new(*upgradeError)) {
			return &interruptedError{cause: cause, err: err}
		}
		return err
	}
	target := newSide(dialled)
	if target.wire != nil {
		took -= target.wire.took
	}
	c.observeDial(took)
	c.met(target)
	if err := c.announce(ctx, target); err != nil {
		target.close()
		return err
	}
	if err := c.joinUp(ctx, target); err != nil {
		return err
	}
	return c.admit(target)
}

func (c *conn) observeDial(took time.Duration) {
	if dialled := c.server.Observer.Dialled; dialled != nil {
		dialled(took)
	}
}

// open announces that forwarding begins.
func (c *conn) open() {
	if traffic := c.traffic(); traffic != nil {
		traffic.total.Add(1)
		traffic.open.Add(1)
	}
	if opened := c.server.Observer.Opened; opened != nil {
		identity := ""
		if c.peer != nil {
			identity = c.peer.identity
		}
		opened(identity)
	}
	if c.sampled() {
		c.log(QuietConns, slog.LevelInfo, "opening pipe")
	}
}

// fail ends a connection that did not come to be forwarded.
func (c *conn) fail(stage string, err error) {
	reason := c.end(reasonOf(err))
	if traffic := c.traffic(); traffic != nil {
		traffic.failed.Add(1)
	}
	if failed := c.server.Observer.Failed; failed != nil {
		failed(stage, reason)
	}
	message, class, level := "error on dial", QuietConnErrs, slog.LevelError
	switch stage {
	case stageHeader:
		message, class, level = "error on PROXY header", QuietHandshakeErrs, slog.LevelWarn
	case stageHandshake:
		message, class, level = "error on TLS handshake", QuietHandshakeErrs, slog.LevelWarn
	case stageAnnounce:
		message = "error on announcing"
	case stageUpgrade:
		message, class, level = "error on upgrade to TLS", QuietHandshakeErrs, slog.LevelWarn
	case stageLimit:
		message, level = "error on accept", slog.LevelWarn
	}
	if reason == reasonClientAbort || reason == reasonShutdown {
		level = slog.LevelDebug // a port probe, or our own doing: nothing that anybody has to look at
	}
	if !c.logs(class, level) {
		return
	}
	attrs := append(c.shown(err), slog.String("stage", stage), slog.String("reason", reason), slog.Any("error", err))
	c.log(class, level, message, append(attrs, c.hint(stage, reason, err)...)...)
}

// finish closes what is open and says that the connection is over.
func (c *conn) finish() {
	c.mu.Lock()
	opened := c.target != nil || c.handled
	c.closeBoth()
	reason := cmp.Or(c.reason, c.remark, reasonEOF)
	c.mu.Unlock()
	c.parting.Wait()

	if traffic := c.traffic(); opened && traffic != nil {
		traffic.open.Add(-1)
	}
	lifetime := time.Since(c.accepted)
	if closed := c.server.Observer.Closed; closed != nil {
		closed(lifetime, reason)
	}
	if opened && c.sampled() {
		attrs := []slog.Attr{
			slog.Int64("bytes_in", c.up.moved.Load()), slog.Int64("bytes_out", c.down.moved.Load()),
			slog.Duration("duration", lifetime), slog.String("reason", reason),
		}
		if reason != reasonEOF {
			attrs = append(attrs, c.hint("", reason, nil)...)
		}
		c.log(QuietConns, slog.LevelInfo, "closed pipe", attrs...)
	}
	c.settled()
	c.server.finish(c)
	c.pass.leave() // many handshakes that fail at once take turns until here
}

// bounded is context.WithTimeout where a limit is set.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}
