package proxy

import (
	"crypto/tls"
	"errors"
)

// verdict is the function of one call to Recheck.
type verdict func(tls.ConnectionState) error

// Recheck asks verify about every TLS peer that was let in, clients and targets alike, and closes the connections of those for
// whom it returns an error, with the error's reason. A peer that is being let in meanwhile is asked about before anything is
// forwarded. It returns how many connections it closed.
//
// It is for trust that was withdrawn. What a closed connection has not forwarded yet is lost.
func (s *Server) Recheck(verify func(tls.ConnectionState) error) (closed int) {
	s.init()
	latest := verdict(verify)
	s.verdict.Store(&latest) // first, so that who is not open yet will see it

	for _, c := range s.inHand() {
		if c.recheck(verify) {
			closed++
		}
	}
	for _, t := range s.targets() {
		if t.recheck(verify) != nil {
			closed++
		}
	}
	return closed
}

// recheck cuts the connection if it is open and verify rejects a peer of it.
func (c *conn) recheck(verify verdict) (cut bool) {
	c.mu.Lock()
	client, target, handled := c.client, c.target, c.handled
	c.mu.Unlock()
	if target == nil && !handled {
		return false // admit will ask
	}
	err := client.verify(verify)
	if target != nil {
		err = errors.Join(err, target.verify(verify))
	}
	if err == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return false
	}
	c.cutLocked(reasonOf(err))
	return true
}

// admit makes target a side of the connection, once both sides have passed the latest Recheck. It closes a target that does
// not come to be used.
func (c *conn) admit(target *side) error {
	for {
		latest := c.server.verdict.Load()
		if latest != c.passed {
			if err := c.client.verify(*latest); err != nil {
				target.close()
				return &handshakeError{err: err}
			}
			if err := target.verify(*latest); err != nil {
				target.close()
				return &handshakeError{err: err, target: true, peer: target.tls.ConnectionState()}
			}
			c.passed = latest
		}
		if done, err := c.join(target); done {
			return err
		}
	}
}

// join is the end of admit, unless there was a Recheck since.
func (c *conn) join(target *side) (done bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.finished || c.server.ctx.Err() != nil:
		target.close()
		return true, ErrServerClosed
	case c.server.verdict.Load() != c.passed:
		return false, nil
	}
	c.target = target
	return true, nil
}

// verify asks about the peer of a side; a plain one has none to ask about.
func (s *side) verify(verify verdict) error {
	if s.tls == nil {
		return nil
	}
	return verify(s.tls.ConnectionState())
}
