package starttls

import (
	"errors"
	"io"
	"net"
)

// Bounds on packets until the server has decided about the client.
const (
	mysqlGreetingLength = 1 << 10
	mysqlResponseLength = 128 << 10 // connection attributes alone may be 64 KiB
	mysqlMessageLength  = 64 << 10  // a Kerberos ticket, for one
	mysqlRounds         = 32        // messages of a server
)

// mysqlStream is one side of a connection while its packets are numbered.
type mysqlStream struct {
	conn net.Conn
	next byte // the number of the next packet, in either direction
}

// read returns the payload of the next packet, of at most so many bytes.
func (s *mysqlStream) read(limit int) ([]byte, error) {
	var head [4]byte // length and number
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		if s.next > 1 { // whoever is at the other end has spoken before
			err = cutShort(err)
		}
		return nil, err
	}
	due := s.next
	s.next = head[3] + 1 // of the answer, if it is an error
	length := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if length > limit {
		return nil, malformed("a packet of %d bytes; no more than %d are acceptable here", length, limit)
	}
	if head[3] != due {
		return nil, malformed("packet %d where %d is due", head[3], due)
	}
	return receive(s.conn, length)
}

// write sends a packet.
func (s *mysqlStream) write(payload []byte) error {
	n := len(payload)
	packet := append([]byte{byte(n), byte(n >> 8), byte(n >> 16), s.next}, payload...) //nolint:gosec // no payload here is longer
	s.next++
	_, err := s.conn.Write(packet)
	return err
}

// greeting reads what a target says first. If it turns the connection away, so is the client, which may be nil; not in the
// target's words, which may be anybody's.
func (s *mysqlStream) greeting(client *mysqlStream) (*mysqlGreeting, error) {
	turned := func(err error) (*mysqlGreeting, error) {
		if client != nil {
			return nil, client.refuse(mysqlUnreachable, "The server behind has turned the connection away", err)
		}
		return nil, err
	}
	payload, err := s.read(mysqlGreetingLength)
	if err != nil {
		if errors.As(err, new(*Error)) {
			return turned(ofTarget(err))
		}
		return nil, ofTarget(err)
	}
	if len(payload) > 3 && payload[0] == mysqlErr {
		return turned(turnedAway(payload[3:])) // behind its number
	}
	greeting, err := parseMySQLGreeting(payload)
	if err != nil {
		return turned(ofTarget(err))
	}
	return greeting, nil
}
