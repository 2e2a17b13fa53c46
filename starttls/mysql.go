package starttls

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// Capabilities of MySQL's protocol ("Capabilities Flags" in the MySQL internals manual, and MariaDB's "Connecting").
const (
	mysqlLongPassword   = 1 << 0 // MariaDB calls it CLIENT_MYSQL: whoever clears it has capabilities of MariaDB's own
	mysqlWithDatabase   = 1 << 3
	mysqlProtocol41     = 1 << 9
	mysqlTLS            = 1 << 11
	mysqlSecureAuth     = 1 << 15
	mysqlPluginAuth     = 1 << 19
	mysqlAttributes     = 1 << 20
	mysqlLengthEncoding = 1 << 21 // of the proof of a password
	mysqlZstd           = 1 << 26
)

// mysqlCommon are the capabilities that every server has had since MySQL 5.6 and MariaDB 10.0, and that change nothing about how
// results are framed: what clients are offered before anything is known about the target.
const mysqlCommon = mysqlLongPassword | 1<<1 | 1<<2 | mysqlWithDatabase | 1<<4 | 1<<6 | 1<<7 | 1<<8 | mysqlProtocol41 | 1<<10 |
	1<<12 | 1<<13 | mysqlSecureAuth | 1<<16 | 1<<17 | 1<<18 | mysqlPluginAuth | mysqlAttributes | mysqlLengthEncoding | 1<<22

// mysqlOpinion are capabilities that are the client's own affair, whatever a server offers.
const mysqlOpinion = mysqlLongPassword

// Error codes with their SQL states (MySQL error reference).
var (
	mysqlHandshake   = mysqlCode{1043, "08S01"} // ER_HANDSHAKE_ERROR
	mysqlOldAuth     = mysqlCode{1251, "08004"} // ER_NOT_SUPPORTED_AUTH_MODE
	mysqlInsecure    = mysqlCode{3159, "HY000"} // ER_SECURE_TRANSPORT_REQUIRED
	mysqlUnreachable = mysqlCode{1105, "HY000"} // ER_UNKNOWN_ERROR
)

type mysqlCode struct {
	number uint16
	state  string
}

// switchPlugin is an authentication plugin that no account has. A server that is told of it as the client's asks for the
// account's plugin by an AuthSwitchRequest, with a scramble of its own ("Authentication Method Mismatch").
const switchPlugin = "sallyport_switch"

// newMySQL returns MySQL's protocol, and MariaDB's.
//
// Its server speaks first, and what it says, a scramble that passwords are proved with, comes before TLS. In front of a plain
// target that cannot be the target's own greeting: the target would have to be dialled for strangers, whom it counts as its
// failed clients (max_connect_errors) until it refuses this host altogether. So clients are greeted with a scramble that is good
// for nothing, in the manner of the target's latest greeting. Once they are let in, the target is told that the client has a
// plugin that no account has, has it ask for another one, and so gets a proof for its own scramble.
//
// Messages are numbered from the start of the connection, TLS included, until the server has decided about the client. As the
// sides have exchanged different messages by then, theirs are passed on one by one, with numbers of each side's own, until that
// decision; from there bytes can flow.
func newMySQL() *Protocol {
	var latest atomic.Pointer[mysqlGreeting] // of the plain target; nil before there was one
	return &Protocol{
		server: func() Server {
			s := &mysqlServer{latest: &latest}
			return Server{Upgrade: s.upgrade, Join: s.join}
		},
		client: func() Client {
			c := &mysqlClient{}
			return Client{Upgrade: c.upgrade, Join: c.join}
		},
		probe: mysqlProbe,
		leave: mysqlLeave,
	}
}

// mysqlServer is a connection from a client that is to speak TLS, to a plain target.
type mysqlServer struct {
	latest  *atomic.Pointer[mysqlGreeting]
	offered mysqlGreeting
	client  mysqlStream
}

// upgrade greets the client and waits for its request for TLS.
func (s *mysqlServer) upgrade(client net.Conn) error {
	s.offered = mysqlFirstGreeting()
	if latest := s.latest.Load(); latest != nil {
		s.offered = *latest
	}
	s.offered.capabilities |= mysqlTLS
	// KILL QUERY of a client's Ctrl-C goes by this number. Another connection's must not be it.
	s.offered.connection = 0
	s.offered.scramble = mysqlScramble()
	s.client.conn = client
	if err := s.client.write(s.offered.marshal()); err != nil {
		return err
	}
	request, err := s.client.read(mysqlResponseLength)
	if err != nil {
		return s.client.refuseMalformed(err)
	}
	capabilities, ok := mysqlCapabilities(request)
	switch {
	case !ok:
		return s.client.refuse(mysqlHandshake, "Bad handshake", malformed("the client's answer to the greeting is none of MySQL's: it begins with %s", clipStart(request)))
	case capabilities&mysqlTLS == 0:
		return s.client.refuse(mysqlInsecure, "Connections using insecure transport are prohibited here; use --ssl",
			required("the client went on without asking for TLS (--skip-ssl, or no --ssl)"))
	case len(request) != mysqlRequestLength:
		return s.client.refuse(mysqlHandshake, "Bad handshake", malformed("the client said who it is before TLS began"))
	}
	return nil
}

// join reads who the client is, tells the target, and sees both through until the target has decided.
func (s *mysqlServer) join(client, target net.Conn) error {
	s.client.conn = client
	data, err := s.client.read(mysqlResponseLength)
	if err != nil {
		return s.client.refuseMalformed(err)
	}
	response, err := parseMySQLResponse(data)
	if err != nil {
		return s.client.refuse(mysqlHandshake, "Bad handshake", err)
	}
	if response.capabilities&mysqlPluginAuth == 0 {
		return s.client.refuse(mysqlOldAuth, "Client does not support authentication protocol requested by server; consider upgrading MySQL client",
			malformed("the client knows no authentication plugins"))
	}
	to := &mysqlStream{conn: target}
	greeting, err := to.greeting(&s.client)
	if err != nil {
		return err
	}
	s.latest.Store(greeting)
	response.limit(&s.offered)
	if !response.fits(greeting) {
		return s.client.refuse(mysqlHandshake, "The server has changed; connect again", &Error{
			reason: reasonTarget,
			text:   "the client was greeted for a target that could do more than this one; the next will not be",
		})
	}
	if err := to.write(response.marshalSwitch()); err != nil {
		return ofTarget(err)
	}
	return mysqlAuthenticate(&s.client, to, switchPlugin)
}

// mysqlClient is a connection from a plain client, to a target that is to speak TLS.
type mysqlClient struct {
	client, target mysqlStream
	response       []byte // the client's, with the capability that says TLS
	plugin         string // that it has answered the greeting with
}

// upgrade passes the target's greeting on, without its offer of TLS, and asks for TLS with what the client answers: servers
// go by the capabilities of that request. What the client answers goes to the target within TLS.
func (c *mysqlClient) upgrade(client, target net.Conn) error {
	c.client.conn, c.target.conn = client, target
	greeting, err := c.target.greeting(&c.client)
	if err != nil {
		return err
	}
	if greeting.capabilities&mysqlTLS == 0 {
		return c.client.refuse(mysqlInsecure, "The server behind does not offer TLS", refused("the target does not offer TLS: its greeting has no CLIENT_SSL"))
	}
	shown := *greeting
	shown.capabilities &^= mysqlTLS
	if err := c.client.write(shown.marshal()); err != nil {
		return err
	}
	if c.response, err = c.client.read(mysqlResponseLength); err != nil {
		return c.client.refuseMalformed(err)
	}
	capabilities, ok := mysqlCapabilities(c.response)
	switch {
	case !ok:
		return c.client.refuse(mysqlHandshake, "Bad handshake", malformed("the client's answer to the greeting is none of MySQL's: it begins with %s", clipStart(c.response)))
	case capabilities&mysqlTLS != 0 || len(c.response) <= mysqlRequestLength:
		return c.client.refuse(mysqlHandshake, "There is no TLS on this side of the tunnel", malformed("the client asked for TLS, which it was not offered"))
	}
	response, err := parseMySQLResponse(c.response)
	if err != nil {
		return c.client.refuse(mysqlHandshake, "Bad handshake", err)
	}
	c.plugin = response.plugin
	binary.LittleEndian.PutUint32(c.response, uint32(capabilities)|mysqlTLS) //nolint:gosec // its lower half
	return ofTarget(c.target.write(c.response[:mysqlRequestLength]))
}

// join tells the target who the client is, and sees both through until the target has decided.
func (c *mysqlClient) join(client, target net.Conn) error {
	c.client.conn, c.target.conn = client, target
	if err := c.target.write(c.response); err != nil {
		return ofTarget(err)
	}
	c.response = nil // it is long said when the connection ends
	return mysqlAuthenticate(&c.client, &c.target, c.plugin)
}

// What a packet of a server says by its first byte, until it has decided about the client.
const (
	mysqlOK     = 0x00
	mysqlMore   = 0x01 // AuthMoreData
	mysqlFactor = 0x02 // AuthNextFactor
	mysqlSwitch = 0xfe // AuthSwitchRequest
	mysqlErr    = 0xff
)

// cachingPlugin is the one plugin that says something which is not answered: that the password is known, and OK follows.
const (
	cachingPlugin = "caching_sha2_password"
	cachingKnown  = 0x03
)

// mysqlAuthenticate passes messages on until the target has decided. Each of the target's is answered by one of the client's, but
// for one that a plugin has; the first plugin is the one that the target was told of.
func mysqlAuthenticate(client, target *mysqlStream, plugin string) error {
	for range mysqlRounds {
		message, err := target.read(mysqlMessageLength)
		if err != nil {
			return ofTarget(err)
		}
		if len(message) == 0 {
			return ofTarget(malformed("an empty packet"))
		}
		if err := client.write(message); err != nil {
			return err
		}
		switch message[0] {
		case mysqlOK, mysqlErr:
			return nil
		case mysqlSwitch, mysqlFactor:
			plugin = mysqlText(message[1:])
		case mysqlMore:
			if plugin == cachingPlugin && len(message) == 2 && message[1] == cachingKnown {
				continue
			}
		}
		answer, err := client.read(mysqlMessageLength)
		if err != nil {
			return err
		}
		if err := target.write(answer); err != nil {
			return ofTarget(err)
		}
	}
	return ofTarget(malformed("no decision about the client after %d messages", mysqlRounds))
}

// mysqlScramble is 20 random bytes as servers send them: of 7 bits, and none that ends a text.
func mysqlScramble() (scramble [mysqlScrambleLength]byte) {
	random := rand.Text() // 26 characters
	copy(scramble[:], random)
	return scramble
}

// mysqlFirstGreeting is what clients are greeted with before anything is known about the target.
func mysqlFirstGreeting() mysqlGreeting {
	return mysqlGreeting{
		version:      "5.7.0-sallyport",
		capabilities: mysqlCommon,
		charset:      mysqlUTF8,
		status:       mysqlAutocommit,
		plugin:       "mysql_native_password",
	}
}

// refuseMalformed answers what could not be read, if it is the client's mistake.
func (s *mysqlStream) refuseMalformed(err error) error {
	if err, ok := errors.AsType[*Error](err); ok {
		return s.refuse(mysqlHandshake, "Bad handshake", err)
	}
	return err
}

// refuse sends an ERR packet, and returns err unless that failed.
func (s *mysqlStream) refuse(code mysqlCode, text string, err error) error {
	packet := binary.LittleEndian.AppendUint16([]byte{mysqlErr}, code.number)
	packet = fmt.Appendf(packet, "#%s%s", code.state, text)
	if failed := s.write(packet); failed != nil {
		return failed
	}
	return err
}
