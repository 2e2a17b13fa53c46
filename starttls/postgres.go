package starttls

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// The first message of a PostgreSQL client is a length, itself included, and a code: of a request, or the version of the
// protocol (PostgreSQL manual, 55.7 "Message Formats" and 55.2.11 "SSL Session Encryption").
const (
	postgresSSL    = 80877103
	postgresGSS    = 80877104
	postgresCancel = 80877102

	postgresVersion = 3 // the major version, in the upper 16 bits

	postgresHead   = 8
	postgresLength = 10000 // the longest StartupMessage that PostgreSQL takes
)

// Answers to a request for encryption.
const (
	postgresYes = 'S'
	postgresNo  = 'N'
)

// tlsHandshakeRecord is the first byte that a TLS client sends (RFC 8446, 5.1).
const tlsHandshakeRecord = 0x16

func newPostgres() *Protocol {
	return &Protocol{
		server: func() Server { return Server{Upgrade: postgresServe} },
		client: func() Client {
			return Client{
				Upgrade: func(_, target net.Conn) error { return postgresAsk(target) },
				Join:    postgresJoin,
			}
		},
		probe: postgresAsk,
	}
}

// postgresRequest is the head of a client's first message.
type postgresRequest [postgresHead]byte

func (r *postgresRequest) length() uint32 { return binary.BigEndian.Uint32(r[:4]) }
func (r *postgresRequest) code() uint32   { return binary.BigEndian.Uint32(r[4:]) }
func (r *postgresRequest) isTLS() bool    { return r[0] == tlsHandshakeRecord }
func (r *postgresRequest) read(from net.Conn) error {
	_, err := io.ReadFull(from, r[:])
	return err
}

// asks reports whether the message is a request for the code's kind of encryption.
func (r *postgresRequest) asks(code uint32) bool {
	return r.length() == postgresHead && r.code() == code
}

// postgresServe waits for a client's SSLRequest. A client may ask for GSSAPI encryption before, once.
func postgresServe(client net.Conn) error {
	var request postgresRequest
	if err := request.read(client); err != nil {
		return err
	}
	if request.asks(postgresGSS) {
		if _, err := client.Write([]byte{postgresNo}); err != nil {
			return err
		}
		if err := request.read(client); err != nil {
			return cutShort(err)
		}
	}
	switch {
	case request.asks(postgresSSL):
		_, err := client.Write([]byte{postgresYes})
		return err
	case request.isTLS():
		return malformed("the client began TLS without an SSLRequest (sslnegotiation=direct); a tunnel with --alpn postgresql and without --starttls is for that")
	case request.code() == postgresCancel:
		// Nobody reads an answer to this one.
		return required("the client sent a CancelRequest without TLS, as libpq before version 17 does")
	case request.code()>>16 == postgresVersion:
		return postgresRefuse(client, "28000", "only encrypted connections are accepted here; use sslmode=verify-full",
			required("the client began a session without asking for TLS (sslmode=disable, or allow)"))
	}
	return postgresRefuse(client, "0A000", "unsupported frontend protocol",
		malformed("the client's first message is none of PostgreSQL's: %s", clip(request[:])))
}

// postgresRefuse sends an ErrorResponse, and returns err unless that failed.
func postgresRefuse(client net.Conn, state, message string, err error) error {
	fields := fmt.Sprintf("SFATAL\x00VFATAL\x00C%s\x00M%s\x00\x00", state, message)
	response := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(fields))) //nolint:gosec // a short text
	if _, failed := client.Write(append(response, fields...)); failed != nil {
		return failed
	}
	return err
}

// postgresAsk asks a target for TLS.
func postgresAsk(target net.Conn) error {
	request := binary.BigEndian.AppendUint32(nil, postgresHead)
	request = binary.BigEndian.AppendUint32(request, postgresSSL)
	if _, err := target.Write(request); err != nil {
		return ofTarget(err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(target, answer[:]); err != nil {
		return ofTarget(err)
	}
	switch answer[0] {
	case postgresYes:
		return nil
	case postgresNo:
		return refused("the target does not offer TLS: it answered N to an SSLRequest")
	case 'E':
		// The text behind it is nobody's word: it came without TLS.
		return refused("the target answered an SSLRequest with an error")
	}
	return malformed("the target answered an SSLRequest with %s, not with S or N", clip(answer[:]))
}

// postgresJoin lets the session of a client begin that speaks plaintext. If it asks for encryption, it is told that there is
// none between it and this host: the target would take such a request for a mistake, within TLS.
func postgresJoin(client, target net.Conn) error {
	var request postgresRequest
	asked := map[uint32]bool{}
	for {
		if err := request.read(client); err != nil {
			if len(asked) > 0 {
				err = cutShort(err)
			}
			return err
		}
		if !request.asks(postgresSSL) && !request.asks(postgresGSS) || asked[request.code()] {
			break
		}
		asked[request.code()] = true
		if _, err := client.Write([]byte{postgresNo}); err != nil {
			return err
		}
	}
	if length := request.length(); length < postgresHead || length > postgresLength {
		return postgresRefuse(client, "08P01", "invalid length of startup packet",
			malformed("the client's first message is none of PostgreSQL's: %s", clip(request[:])))
	}
	startup := append(request[:], make([]byte, request.length()-postgresHead)...)
	if err := readRest(client, startup[postgresHead:]); err != nil {
		return err
	}
	if _, err := target.Write(startup); err != nil {
		return ofTarget(err)
	}
	if request.code() == postgresCancel {
		return nil // nothing answers it
	}
	return postgresAnswer(client, target)
}

// postgresAnswer passes on what a target answers to a StartupMessage, up to where it asks who is there. A target that speaks TLS
// offers to bind the proof of a password to the TLS session (SCRAM-SHA-256-PLUS, RFC 5802, 6), which the client, who has none,
// takes for the work of somebody who has stripped TLS. So that offer is kept from it: it then says that it cannot do that, and
// goes on with SCRAM-SHA-256.
func postgresAnswer(client, target net.Conn) error {
	const (
		negotiate      = 'v' // NegotiateProtocolVersion, which another message follows
		authentication = 'R'
	)
	for range 2 {
		var head [5]byte // a type, and the length of all but that
		if _, err := io.ReadFull(target, head[:]); err != nil {
			return ofTarget(err)
		}
		length := binary.BigEndian.Uint32(head[1:])
		if head[0] != negotiate && head[0] != authentication || length < 4 || length > postgresLength {
			_, err := client.Write(head[:]) // an ErrorResponse, for one, whose rest follows by itself
			return err
		}
		message := append(head[:], make([]byte, length-4)...)
		if err := readRest(target, message[len(head):]); err != nil {
			return ofTarget(err)
		}
		if head[0] == authentication {
			_, err := client.Write(postgresUnbound(message))
			return err
		}
		if _, err := client.Write(message); err != nil {
			return err
		}
	}
	return nil
}

// postgresUnbound takes SCRAM-SHA-256-PLUS out of an AuthenticationSASL message that offers anything else. Every other message
// is returned as it is.
func postgresUnbound(message []byte) []byte {
	const (
		headLength = 9 // type, length, and what kind of authentication is asked for
		kind       = "\x00\x00\x00\x0a"
		bound      = "SCRAM-SHA-256-PLUS\x00"
	)
	if len(message) < headLength || string(message[5:headLength]) != kind {
		return message
	}
	var left []byte
	found := false
	for offer := range bytes.SplitAfterSeq(message[headLength:], []byte{0}) {
		if string(offer) == bound {
			found = true
		} else {
			left = append(left, offer...)
		}
	}
	if !found || len(left) <= 1 { // the list itself ends with an empty name
		return message
	}
	unbound := binary.BigEndian.AppendUint32([]byte{message[0]}, uint32(4+len(kind)+len(left))) //nolint:gosec // no longer than the message was
	return append(append(unbound, kind...), left...)
}
