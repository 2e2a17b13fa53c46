package certloader

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
)

// bindTickets has config issue session tickets, under the keys of keys, that
// are good for one generation of trust alone.
//
// VerifyConnection would refuse a resumed session whose certificate has lost
// its trust anyway. But it comes too late to fall back to a full handshake: a
// client that has been given a new certificate meanwhile would be refused for
// as long as it keeps its old ticket.
func bindTickets(config, keys *tls.Config, generation uint64) {
	mark := binary.BigEndian.AppendUint64([]byte("sallyport trust "), generation)

	config.WrapSession = func(cs tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, mark)
		return keys.EncryptTicket(cs, session)
	}
	config.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		session, err := keys.DecryptTicket(ticket, cs)
		if session == nil || err != nil {
			return nil, err
		}
		for _, extra := range session.Extra {
			if bytes.Equal(extra, mark) {
				return session, nil
			}
		}
		return nil, nil // not an error: a full handshake follows
	}
}
