package starttls

import (
	"encoding/binary"
	"net"
)

// mysqlNobody is the user that checks log in as. There should be none of that name.
const mysqlNobody = "sallyport-check"

// mysqlProbeCan is what is said that a check can do.
const mysqlProbeCan = mysqlLongPassword | mysqlProtocol41 | mysqlSecureAuth | mysqlPluginAuth

// mysqlProofs are the lengths of proofs that plugins take for a wrong password, and not for a broken client.
var mysqlProofs = map[string]int{
	"mysql_native_password": 20,
	"client_ed25519":        64,
	cachingPlugin:           32,
}

// mysqlProbe asks a target for TLS on behalf of nobody.
func mysqlProbe(target net.Conn) error {
	to := &mysqlStream{conn: target}
	greeting, err := to.greeting(nil)
	if err != nil {
		return err
	}
	if greeting.capabilities&mysqlTLS == 0 {
		return refused("the target does not offer TLS: its greeting has no CLIENT_SSL")
	}
	return ofTarget(to.write(mysqlNobodyResponse(mysqlTLS)[:mysqlRequestLength]))
}

// mysqlLeave logs in as nobody, and is denied. A connection that ends before that is one error of this host's more to the
// target, which refuses the host after so many in a row (max_connect_errors).
func mysqlLeave(target net.Conn, encrypted bool) error {
	to, more := &mysqlStream{conn: target, next: 2}, uint32(mysqlTLS)
	if !encrypted {
		to.next, more = 0, 0
		if _, err := to.greeting(nil); err != nil {
			return err
		}
	}
	if err := to.write(mysqlNobodyResponse(more)); err != nil {
		return ofTarget(err)
	}
	for range mysqlRounds {
		message, err := to.read(mysqlMessageLength)
		if err != nil {
			return ofTarget(err)
		}
		var proof []byte
		switch {
		case len(message) == 0:
			return ofTarget(malformed("an empty packet"))
		case message[0] == mysqlOK, message[0] == mysqlErr:
			return nil
		case message[0] == mysqlSwitch:
			proof = make([]byte, mysqlProofs[mysqlText(message[1:])])
		}
		if err := to.write(proof); err != nil {
			return ofTarget(err)
		}
	}
	return ofTarget(malformed("no decision about a client after %d messages", mysqlRounds))
}

// mysqlNobodyResponse is who nobody is.
func mysqlNobodyResponse(more uint32) []byte {
	p := binary.LittleEndian.AppendUint32(nil, mysqlProbeCan|more)
	p = binary.LittleEndian.AppendUint32(p, mysqlPacketLength)
	p = append(p, mysqlUTF8)
	p = append(p, make([]byte, 23)...)
	p = append(p, mysqlNobody+"\x00\x00"...)
	return append(p, switchPlugin+"\x00"...)
}
