package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// ProxyProtocol is how a proxy is asked for a connection.
type ProxyProtocol string

// The protocols of proxies.
const (
	HTTPConnect ProxyProtocol = "CONNECT" // RFC 9110, section 9.3.6, over HTTP/1.1
	SOCKS5      ProxyProtocol = "SOCKS5"  // RFC 1928, with RFC 1929
)

// Proxy is a proxy of somebody else's, through which targets are reached. It
// looks up their names; nothing about a target is resolved here.
type Proxy struct {
	Protocol ProxyProtocol
	Name     string // what errors call it, such as http://localhost:3128

	// Dial connects to the proxy.
	Dial func(context.Context) (net.Conn, error)

	// Secure makes a connection to the proxy one over TLS. On an error it leaves
	// the connection to be closed. Nil: the proxy is spoken to in plaintext.
	Secure func(context.Context, net.Conn) (net.Conn, error)

	// Credentials are what the proxy is told if it wants to know who asks. They
	// are asked for anew for each connection. Nil, or an empty user: none.
	Credentials func() (user, password string)
}

// Dialer gives the function that connects to a TCP target through the proxy.
// Its context bounds the whole of one call. Errors are of type *ProxyError, and
// leave no connection open. The function is safe for concurrent use.
//
// What the proxy sends behind its answer is the target's and is not touched. The
// connection's RemoteAddr is the target, by name if that is how it was given.
func (p *Proxy) Dialer(target Address) func(context.Context) (net.Conn, error) {
	remote := remoteAddr(target)
	return func(ctx context.Context) (net.Conn, error) {
		socket, err := p.Dial(ctx)
		if err != nil {
			return nil, p.failed(reasonProxyUnreachable, fmt.Errorf("cannot be reached: %w", err))
		}
		conn, err := p.open(ctx, socket, target)
		if err != nil {
			_ = socket.Close()
			return nil, err
		}
		return &tunnelled{Conn: conn, socket: socket, target: remote}, nil
	}
}

// open has the proxy connect to the target, before the context ends.
func (p *Proxy) open(ctx context.Context, socket net.Conn, target Address) (net.Conn, error) {
	conn := socket
	if p.Secure != nil {
		var err error
		conn, err = p.Secure(ctx, socket)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, p.failed(reasonTimeout, fmt.Errorf("TLS handshake with the proxy: not over in time: %w", context.Cause(ctx)))
		case err != nil:
			return nil, p.failed(reasonProxyTLS, fmt.Errorf("TLS handshake with the proxy: %w", err))
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })
	err := p.ask(conn, target)
	switch {
	case !stop():
		return nil, p.failed(reasonTimeout, fmt.Errorf("%s %s: no complete answer in time: %w", p.Protocol, target, context.Cause(ctx)))
	case err != nil:
		var failure *refusal
		if !errors.As(err, &failure) {
			failure = &refusal{reasonProxyError, ended(err)}
		}
		return nil, p.failed(failure.reason, fmt.Errorf("%s %s: %w", p.Protocol, target, failure.err))
	}
	return conn, nil
}

func (p *Proxy) ask(conn io.ReadWriter, target Address) error {
	var user, password string
	if p.Credentials != nil {
		user, password = p.Credentials()
	}
	if p.Protocol == SOCKS5 {
		return askSOCKS5(conn, target, user, password)
	}
	return askConnect(conn, target, user, password)
}

// ended says in other words that a connection ended, where it did.
func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the proxy closed the connection without an answer")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the proxy closed the connection in the middle of its answer")
	}
	return err
}

// CheckCredentials tells what keeps a user and a password from being told to
// some proxy: Basic authentication (RFC 7617) knows no colon in the user and no
// control characters, SOCKS5 no more than 255 bytes of either.
func CheckCredentials(user, password string) error {
	const most = 255
	switch {
	case user == "":
		return errors.New("no user; write USER:PASSWORD")
	case strings.Contains(user, ":"):
		return errors.New("a colon in the user, which no proxy would understand")
	case len(user) > most || len(password) > most:
		return fmt.Errorf("more than %d bytes in the user or the password", most)
	case strings.ContainsFunc(user+password, isControl):
		return errors.New("a control character in the user or the password")
	}
	return nil
}

// Why a connection through a proxy failed. They are stable.
const (
	reasonProxyUnreachable = "proxy_unreachable" // the proxy itself cannot be reached
	reasonProxyTLS         = "proxy_tls"         // the TLS handshake with the proxy failed
	reasonProxyAuth        = "proxy_auth"        // the proxy wants other credentials
	reasonProxyRefused     = "proxy_refused"     // the proxy's rules are against it
	reasonProxyGateway     = "proxy_bad_gateway" // the proxy cannot reach the target
	reasonProxyError       = "proxy_error"       // what the proxy answers is none of its protocol's answers
	reasonTimeout          = "timeout"           // the proxy took too long
)

// ProxyReasons are all that a [*ProxyError] may have of its own, beside timeout.
func ProxyReasons() []string {
	return []string{
		reasonProxyUnreachable, reasonProxyTLS, reasonProxyAuth, reasonProxyRefused, reasonProxyGateway, reasonProxyError,
	}
}

// ProxyError is a connection that did not come about because of a proxy.
type ProxyError struct {
	Proxy string // its name
	Err   error

	reason string
}

func (p *Proxy) failed(reason string, err error) error {
	return &ProxyError{Proxy: p.Name, Err: err, reason: reason}
}

// Error names the proxy and what it said, cut to length and made printable.
func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() }

// Reason is one of ProxyReasons, or timeout.
func (e *ProxyError) Reason() string { return e.reason }

// Unwrap returns what a context or the system said.
func (e *ProxyError) Unwrap() error { return e.Err }

// refusal is what a proxy's answer comes down to where that is no connection.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }

func refused(reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// tunnelled is a connection through a proxy. Reading and writing goes through
// TLS with the proxy, where there is that; the rest concerns the socket, so that
// to close waits for nobody.
type tunnelled struct {
	net.Conn
	socket net.Conn
	target net.Addr
}

// RemoteAddr is the target, which is whom one speaks to.
func (t *tunnelled) RemoteAddr() net.Addr { return t.target }

// NetConn is the socket that leads to the proxy.
func (t *tunnelled) NetConn() net.Conn { return t.socket }

// Close closes the socket at once.
func (t *tunnelled) Close() error { return t.socket.Close() }

// CloseWrite ends the writing and leaves the reading.
func (t *tunnelled) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetDeadline sets that of the socket.
func (t *tunnelled) SetDeadline(at time.Time) error { return t.socket.SetDeadline(at) }

// SetReadDeadline sets that of the socket.
func (t *tunnelled) SetReadDeadline(at time.Time) error { return t.socket.SetReadDeadline(at) }

// SetWriteDeadline sets that of the socket.
func (t *tunnelled) SetWriteDeadline(at time.Time) error { return t.socket.SetWriteDeadline(at) }

// named is the address of what has only a name here.
type named Address

// Network returns "tcp".
func (named) Network() string { return networkTCP }

// String is the address as ParseAddress reads it.
func (n named) String() string { return Address(n).String() }

// remoteAddr is a target as a peer's address.
func remoteAddr(target Address) net.Addr {
	if ip, err := netip.ParseAddr(target.host); err == nil {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, target.port))
	}
	return named(target)
}
