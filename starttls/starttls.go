// Package starttls speaks the plaintext part of protocols that begin in the clear and go over to TLS on the same connection:
// PostgreSQL, MySQL, LDAP and SMTP. It plays the server toward clients and the client toward servers, so that both find TLS
// where they look for it.
//
//	protocol, err := starttls.New("postgres")
//
//	server := protocol.Server() // one for each connection
//	err = server.Upgrade(client)        // the client has asked for TLS, and was told to begin
//	session := tls.Server(client, config)
//	…
//	if server.Join != nil {
//		err = server.Join(session, target)
//	}
//
// What it reads comes from strangers: sizes and numbers of messages are bounded, and time is, by whoever calls. No byte is read
// ahead. So what somebody slips in behind a request for TLS cannot be taken later for something that was said within TLS (the
// class of CVE-2011-0411, CVE-2021-23214 and CVE-2021-23222): it reaches the TLS handshake, which fails. And whoever says no to
// TLS, or goes on without it, gets an error; there is no way to plaintext from there.
//
// The package makes no TLS handshakes, dials nothing, sets no deadlines, and decides about nobody.
package starttls

import (
	"fmt"
	"net"
)

// Protocol is one of the protocols that New knows. It may be used by many connections at once.
type Protocol struct {
	server func() Server
	client func() Client
	probe  func(target net.Conn) error
	leave  func(target net.Conn, encrypted bool) error // nil: nothing is said
}

// New returns the protocol of a name: postgres, mysql, ldap or smtp.
func New(name string) (*Protocol, error) {
	switch name {
	case "postgres":
		return newPostgres(), nil
	case "mysql":
		return newMySQL(), nil
	case "ldap":
		return newLDAP(), nil
	case "smtp":
		return newSMTP(), nil
	}
	return nil, fmt.Errorf("no protocol %q; use postgres, mysql, ldap or smtp", name)
}

// Server returns what speaks on one connection that a client made.
func (p *Protocol) Server() Server { return p.server() }

// Client returns what speaks on one connection to a server.
func (p *Protocol) Client() Client { return p.client() }

// Probe asks a target for TLS on behalf of nobody, as a check does that ends after the TLS handshake.
func (p *Protocol) Probe(target net.Conn) error { return p.probe(target) }

// Leave returns what a check says to a target before it closes the connection, so that the target does not hold it against this
// host: to a plain one, or to one that speaks TLS after a Probe. Nil: there is nothing to be said.
func (p *Protocol) Leave(encrypted bool) func(target net.Conn) error {
	if p.leave == nil {
		return nil
	}
	return func(target net.Conn) error { return p.leave(target, encrypted) }
}

// Server is the part of one connection whose client is to speak TLS, and whose target speaks plaintext. Its functions are
// called once each, in this order.
type Server struct {
	// Upgrade plays the server toward the client until the client's TLS handshake comes next.
	Upgrade func(client net.Conn) error

	// Join brings both together once the client speaks TLS and the target is connected. Nil: there is nothing to be said.
	Join func(client, target net.Conn) error
}

// Client is the part of one connection whose client speaks plaintext, and whose target is to speak TLS. Its functions are
// called once each, in this order.
type Client struct {
	// Upgrade plays the client toward the target until the TLS handshake with it comes next. It may have to hear of the
	// client what to ask for.
	Upgrade func(client, target net.Conn) error

	// Join brings both together once the target speaks TLS. Nil: there is nothing to be said.
	Join func(client, target net.Conn) error
}
