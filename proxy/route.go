package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"sallyport/internal/peertext"
)

// Route is where those connections of a Server go whose clients asked for certain names. It must not change once it is in use.
type Route struct {
	Name string // as the log and Connections have it

	// Dial takes the place of Server.Dial. Required.
	Dial func(context.Context) (net.Conn, error)

	// Traffic counts its connections. Nil counts none.
	Traffic *Traffic
}

// Traffic counts the connections of a route, or of several that follow one another under one name. The zero value has counted
// none. It is safe for concurrent use.
type Traffic struct{ open, total, failed atomic.Int64 }

// Counts returns how many connections are forwarded now, how many were so far, and how many came to nothing, be it in the
// handshake or on the way to the target.
func (t *Traffic) Counts() (open, total, failed int64) {
	return t.open.Load(), t.total.Load(), t.failed.Load()
}

// traffic counts the connection, if it goes by a route that is counted; else it is nil.
func (c *conn) traffic() *Traffic {
	if c.route == nil {
		return nil
	}
	return c.route.Traffic
}

// routed finds the route of a client that was let in. What it comes for may be its handshake alone.
func (c *conn) routed(session *tls.Conn) error {
	if c.server.Route == nil {
		return nil
	}
	state := session.ConnectionState()
	if state.NegotiatedProtocol == challengeProtocol {
		return nil
	}
	if !c.goBy(state.ServerName) {
		return &handshakeError{err: &unrecognizedError{state.ServerName}, peer: state}
	}
	return nil
}

// strayed finds the route of a client with whom the handshake failed, if it came so far as to say what it wants, and returns
// the error for it.
func (c *conn) strayed(err error, state *tls.ConnectionState) error {
	if c.server.Route == nil {
		return err
	}
	if state.ServerName != "" && c.goBy(state.ServerName) {
		return err
	}
	if strings.Contains(err.Error(), textUnrecognized) {
		return &unrecognizedError{state.ServerName}
	}
	return err
}

// goBy makes the route for a name that of the connection; false if there is none.
func (c *conn) goBy(serverName string) bool {
	route := c.server.Route(serverName)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.route = route
	return route != nil
}

// dialer is what connects to the target.
func (c *conn) dialer() func(context.Context) (net.Conn, error) {
	if c.route != nil {
		return c.route.Dial
	}
	return c.server.Dial
}

// unrecognizedError is a client that asked for a name which no route has. TLS has told it so.
type unrecognizedError struct{ name string }

func (e *unrecognizedError) Error() string {
	if e.name == "" {
		return "the client asked for no server name, and no route is for such clients"
	}
	return fmt.Sprintf("no route is for the server name %q", peertext.Cut(e.name))
}

// Reason is a stable word for logs and metrics.
func (e *unrecognizedError) Reason() string { return reasonUnrecognized }

// textUnrecognized is in the error of crypto/tls where it has sent the alert unrecognized_name: a config without certificates is
// how to have it do that.
const textUnrecognized = "no certificates configured"
