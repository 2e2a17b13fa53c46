package starttls

import (
	"errors"
	"io"
	"net"
)

// ldapStartTLS is what names the extended operation (RFC 4511, 4.14.1).
const ldapStartTLS = "1.3.6.1.4.1.1466.20037"

// ldapDisconnection names the Notice of Disconnection (RFC 4511, 4.4.1).
const ldapDisconnection = "1.3.6.1.4.1.1466.20036"

// Tags of LDAP's messages (RFC 4511, 4.2 to 4.12).
const (
	ldapBindRequest       = 0x60
	ldapUnbindRequest     = 0x42
	ldapAbandonRequest    = 0x50
	ldapExtendedRequest   = 0x77
	ldapExtendedResponse  = 0x78
	ldapRequestName       = 0x80
	ldapResponseName      = 0x8a
	ldapNothing           = "" // a result's matchedDN
	ldapNobody            = 0  // the ID of a message that answers none
	ldapFirst             = 1  // the ID of the first request
	ldapIDLength          = 4  // MessageID is at most 2^31-1
	ldapMessages          = 16
	ldapMessageLength     = 64 << 10 // a bind may bring a Kerberos ticket
	ldapResponseMaxLength = 16 << 10
)

// Result codes (RFC 4511, 4.1.9).
const (
	ldapSuccess                 = 0
	ldapProtocolError           = 2
	ldapConfidentialityRequired = 13
)

// ldapResponses are the tags of the responses to requests, other than extended ones, that have one.
var ldapResponses = map[byte]byte{
	ldapBindRequest: 0x61,
	0x63:            0x65, // search
	0x66:            0x67, // modify
	0x68:            0x69, // add
	0x4a:            0x6b, // delete
	0x6c:            0x6d, // modify DN
	0x6e:            0x6f, // compare
}

func newLDAP() *Protocol {
	return &Protocol{
		server: func() Server { return Server{Upgrade: ldapServe} },
		client: func() Client {
			return Client{Upgrade: func(_, target net.Conn) error { return ldapAsk(target) }}
		},
		probe: ldapAsk,
	}
}

// ldapMessage is the envelope of every LDAP message (RFC 4511, 4.1.1), without its controls.
type ldapMessage struct {
	id        int
	operation element
}

// ldapServe waits for a client's StartTLS. Other operations are answered with confidentialityRequired (RFC 4513, 3.1.1 has no
// other use for a client that must not go on like that).
func ldapServe(client net.Conn) error {
	for n := range ldapMessages {
		message, err := ldapRead(client, ldapMessageLength)
		if err != nil {
			if n > 0 {
				err = cutShort(err)
			}
			if err, ok := errors.AsType[*Error](err); ok {
				return ldapDisconnect(client, ldapProtocolError, "not a message of LDAP", err)
			}
			return err
		}
		answer, starts := ldapAnswer(message)
		if answer != nil {
			if _, err := client.Write(answer); err != nil {
				return err
			}
		}
		switch {
		case starts:
			return nil
		case message.operation.tag == ldapUnbindRequest:
			return required("the client left without StartTLS")
		case answer == nil && message.operation.tag != ldapAbandonRequest:
			return ldapDisconnect(client, ldapProtocolError, "no request of LDAP",
				malformed("the client sent operation %#02x, which is no request of LDAP", message.operation.tag))
		}
	}
	return ldapDisconnect(client, ldapConfidentialityRequired, "StartTLS was not asked for",
		required("the client sent %d requests, and no StartTLS", ldapMessages))
}

// ldapAnswer returns the answer to a request, which is nil if it has none, and whether TLS starts behind it.
func ldapAnswer(request ldapMessage) (answer []byte, starts bool) {
	operation := request.operation
	if operation.tag == ldapExtendedRequest {
		name, rest, err := readElement(operation.content)
		switch {
		case err != nil || name.tag != ldapRequestName:
			return ldapResponse(request.id, ldapExtendedResponse, ldapProtocolError, "an extended request without its name", ""), false
		case string(name.content) != ldapStartTLS:
			return ldapResponse(request.id, ldapExtendedResponse, ldapConfidentialityRequired, "StartTLS comes first", ""), false
		case len(rest) > 0:
			return ldapResponse(request.id, ldapExtendedResponse, ldapProtocolError, "StartTLS has no value", ldapStartTLS), false
		}
		return ldapResponse(request.id, ldapExtendedResponse, ldapSuccess, "", ldapStartTLS), true
	}
	if tag, ok := ldapResponses[operation.tag]; ok {
		return ldapResponse(request.id, tag, ldapConfidentialityRequired, "StartTLS comes first", ""), false
	}
	return nil, false
}

// ldapDisconnect sends a Notice of Disconnection, and returns err unless that failed.
func ldapDisconnect(client net.Conn, code byte, text string, err error) error {
	if _, failed := client.Write(ldapResponse(ldapNobody, ldapExtendedResponse, code, text, ldapDisconnection)); failed != nil {
		return failed
	}
	return err
}

// ldapResponse is a message with a result (RFC 4511, 4.1.9), and the name that an extended response may have.
func ldapResponse(id int, tag, code byte, text, name string) []byte {
	result := appendElement(nil, tagEnumerated, []byte{code})
	result = appendElement(result, tagOctetString, []byte(ldapNothing))
	result = appendElement(result, tagOctetString, []byte(text))
	if name != "" {
		result = appendElement(result, ldapResponseName, []byte(name))
	}
	return ldapEnvelope(id, tag, result)
}

func ldapEnvelope(id int, tag byte, content []byte) []byte {
	return appendElement(nil, tagSequence, appendElement(appendInteger(nil, id), tag, content))
}

// ldapAsk asks a target for TLS.
func ldapAsk(target net.Conn) error {
	request := ldapEnvelope(ldapFirst, ldapExtendedRequest, appendElement(nil, ldapRequestName, []byte(ldapStartTLS)))
	if _, err := target.Write(request); err != nil {
		return ofTarget(err)
	}
	message, err := ldapRead(target, ldapResponseMaxLength)
	if err != nil {
		return ofTarget(err)
	}
	result := message.operation
	if result.tag != ldapExtendedResponse || message.id != ldapFirst && message.id != ldapNobody {
		return malformed("the target answered StartTLS with operation %#02x of message %d", result.tag, message.id)
	}
	code, rest, err := readElement(result.content)
	if err != nil || code.tag != tagEnumerated || len(code.content) != 1 {
		return malformed("the target answered StartTLS without a result")
	}
	if message.id == ldapNobody || code.content[0] != ldapSuccess {
		return refused("the target does not go on in TLS: it answered StartTLS with result %d%s", code.content[0], ldapDiagnosis(rest))
	}
	return nil
}

// ldapDiagnosis is the diagnosticMessage of a result whose code was read.
func ldapDiagnosis(rest []byte) string {
	_, rest, err := readElement(rest) // matchedDN
	if err != nil {
		return ""
	}
	text, _, err := readElement(rest)
	if err != nil || len(text.content) == 0 {
		return ""
	}
	return ", " + clip(text.content)
}

// ldapRead reads one message of at most so many bytes.
func ldapRead(from net.Conn, limit int) (ldapMessage, error) {
	var none ldapMessage
	envelope, err := receiveElement(from, tagSequence, limit)
	if err != nil {
		return none, err
	}
	id, rest, err := readElement(envelope)
	if err != nil {
		return none, err
	}
	if id.tag != tagInteger || len(id.content) == 0 || len(id.content) > ldapIDLength || id.content[0]&0x80 != 0 {
		return none, malformed("a message of LDAP without an ID")
	}
	number := 0
	for _, b := range id.content {
		number = number<<8 | int(b)
	}
	operation, _, err := readElement(rest) // controls may follow
	if err != nil {
		return none, err
	}
	return ldapMessage{id: number, operation: operation}, nil
}

// receiveElement reads an element of BER with that tag, and returns its content. It reads not one byte more.
func receiveElement(from io.Reader, tag byte, limit int) ([]byte, error) {
	var head [2 + maxLengthBytes]byte
	if _, err := io.ReadFull(from, head[:2]); err != nil {
		return nil, err
	}
	more := lengthBytes(head[1])
	if head[0] != tag || more < 0 {
		return nil, malformed("not a message of LDAP: it begins with %s", clip(head[:2]))
	}
	if err := readRest(from, head[2:2+more]); err != nil {
		return nil, err
	}
	length := elementLength(head[1], head[2:2+more])
	if length > limit {
		return nil, malformed("a message of %d bytes; no more than %d are acceptable here", length, limit)
	}
	return receive(from, length)
}
