package certloader

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"slices"
	"strings"
)

// bindTickets has config issue session tickets, under the keys of keys, that
// are good where the same mark is set alone, and if byName for the server name
// alone that the client asked for, who has seen no certificate for another one
// (RFC 6066, 3).
//
// VerifyConnection would refuse a resumed session whose certificate has lost
// its trust anyway. But it comes too late to fall back to a full handshake: a
// client that has been given a new certificate meanwhile would be refused for
// as long as it keeps its old ticket.
func bindTickets(config, keys *tls.Config, mark []byte, byName bool) {
	markOf := func(cs *tls.ConnectionState) []byte {
		if !byName {
			return mark
		}
		return slices.Concat(mark, []byte{0}, []byte(strings.ToLower(cs.ServerName)))
	}
	config.WrapSession = func(cs tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, markOf(&cs))
		return keys.EncryptTicket(cs, session)
	}
	config.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		session, err := keys.DecryptTicket(ticket, cs)
		if session == nil || err != nil {
			return nil, err
		}
		wanted := markOf(&cs)
		for _, extra := range session.Extra {
			if bytes.Equal(extra, wanted) {
				return session, nil
			}
		}
		return nil, nil // not an error: a full handshake follows
	}
}

// ticketMark is what tickets that are good under this trust are marked with.
// Keys that others have too take a mark that others arrive at; of a process's
// own, not even the same trust brings back what was issued under it before.
func (s *snapshot) ticketMark(shared bool) []byte {
	if shared {
		return append([]byte("sallyport shared trust "), s.trustDigest()...)
	}
	return binary.BigEndian.AppendUint64([]byte("sallyport trust "), s.generation)
}
