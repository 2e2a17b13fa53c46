package starttls

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
)

// errGone is a peer that takes nothing any more.
var errGone = errors.New("the peer has gone")

// leaving is a peer that has said all it will say, and goes after it has taken so many messages.
type leaving struct {
	scripted
	takes int
}

func (l *leaving) Write(p []byte) (int, error) {
	if l.takes == 0 {
		return 0, errGone
	}
	l.takes--
	return l.scripted.Write(p)
}

func leavingAfter(said string, takes int) *leaving {
	return &leaving{scripted: scripted{Reader: bytes.NewReader([]byte(said))}, takes: takes}
}

// endless is more messages than anybody takes here.
const endless = 1 << 10

// Wherever a peer breaks off, that is an error, and tells whether it was the client, whose silence at the start is nothing that
// anybody has to look at, or the target.
func TestWhoBreaksOffIsTold(t *testing.T) {
	t.Parallel()
	secure, insecure := mysqlTarget(mysqlCommon|mysqlTLS), mysqlTarget(mysqlCommon)
	// begun is the client's side of a MySQL connection, once both have met.
	begun := func(t *testing.T) Client {
		t.Helper()
		session := newMySQL().Client()
		if got := meet(t, packet(1, answer(mysqlCan, who)), packet(0, string(secure.marshal())), session.Upgrade); got.err != nil {
			t.Fatal(got.err)
		}
		return session
	}
	asked := func(t *testing.T) Server {
		t.Helper()
		session := newMySQL().Server()
		if err := session.Upgrade(&scripted{Reader: bytes.NewReader([]byte(packet(1, answer(mysqlCan|mysqlTLS, ""))))}); err != nil {
			t.Fatal(err)
		}
		return session
	}
	serves := func(protocol func() *Protocol) func(*testing.T) func(net.Conn, net.Conn) error {
		return func(*testing.T) func(net.Conn, net.Conn) error {
			return func(client, _ net.Conn) error { return protocol().Server().Upgrade(client) }
		}
	}
	asks := func(protocol func() *Protocol) func(*testing.T) func(net.Conn, net.Conn) error {
		return func(*testing.T) func(net.Conn, net.Conn) error { return protocol().Client().Upgrade }
	}
	for _, test := range []struct {
		name           string
		client, target string // what they say
		begin          func(*testing.T) func(client, target net.Conn) error
		refused        bool // it ends with a refusal
	}{
		{name: "PostgreSQL, a client asks", client: gssRequest + sslRequest, begin: serves(newPostgres)},
		{name: "PostgreSQL, a client is refused", client: startup[:postgresHead], begin: serves(newPostgres), refused: true},
		{name: "PostgreSQL, a target is asked", target: "S", begin: asks(newPostgres)},
		{
			name: "PostgreSQL, both", client: gssRequest + sslRequest + startup, target: "v\x00\x00\x00\x08\x00\x00\x00\x00" + sasl("SCRAM-SHA-256"),
			begin: func(*testing.T) func(net.Conn, net.Conn) error { return newPostgres().Client().Join },
		},
		{name: "LDAP, a client asks", client: ldapBind + ldapStart, begin: serves(newLDAP)},
		{name: "LDAP, a client is refused", client: ldapStartYes, begin: serves(newLDAP), refused: true},
		{name: "LDAP, a target is asked", target: ldapStartYes, begin: asks(newLDAP)},
		{name: "SMTP, a client asks", client: "EHLO c\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\n", begin: serves(newSMTP)},
		{name: "SMTP, a client leaves", client: "QUIT\r\n", begin: serves(newSMTP), refused: true},
		{
			name: "SMTP, a target is asked", target: "220 mail ESMTP\r\n250-mail\r\n250 STARTTLS\r\n220 go on\r\n",
			begin: asks(newSMTP),
		},
		{
			name: "SMTP, a target turns away", client: "EHLO c\r\n", target: "554 no\r\n", refused: true,
			begin: func(*testing.T) func(net.Conn, net.Conn) error { return newSMTP().Server().Join },
		},
		{name: "MySQL, a client asks", client: packet(1, answer(mysqlCan|mysqlTLS, "")), begin: serves(newMySQL)},
		{name: "MySQL, a client is refused", client: packet(1, answer(mysqlCan, who)), begin: serves(newMySQL), refused: true},
		{
			name:   "MySQL, a client in TLS and a target",
			client: packet(2, answer(mysqlCan|mysqlTLS, who)) + packet(4, "proof"),
			target: packet(0, string(insecure.marshal())) + packet(2, switchRequest) + packet(4, accepted),
			begin:  func(t *testing.T) func(net.Conn, net.Conn) error { return asked(t).Join },
		},
		{
			name: "MySQL, a target is asked", client: packet(1, answer(mysqlCan, who)), target: packet(0, string(secure.marshal())),
			begin: asks(newMySQL),
		},
		{
			name: "MySQL, a target in TLS and a client", client: packet(3, "proof"), target: packet(3, switchRequest) + packet(5, accepted),
			begin: func(t *testing.T) func(net.Conn, net.Conn) error { return begun(t).Join },
		},
		{
			name: "MySQL, a check ends", target: packet(0, string(insecure.marshal())) + packet(2, "\xfemysql_native_password\x00") + packet(4, "\xff\x15\x04#28000no"),
			begin: func(*testing.T) func(net.Conn, net.Conn) error {
				return func(_, target net.Conn) error { return newMySQL().Leave(false)(target) }
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			try := func(client, target *leaving) error {
				t.Helper()
				return test.begin(t)(client, target)
			}
			client, target := leavingAfter(test.client, endless), leavingAfter(test.target, endless)
			if err := try(client, target); errors.As(err, new(*Error)) != test.refused || err != nil && !test.refused {
				t.Fatalf("with all that is said: %v", err)
			}
			if client.Len() > 0 || target.Len() > 0 {
				t.Fatalf("%d and %d bytes are not read", client.Len(), target.Len())
			}
			for n := range test.client {
				err := try(leavingAfter(test.client[:n], endless), leavingAfter(test.target, endless))
				if !errors.Is(err, io.ErrUnexpectedEOF) && (n > 0 || !errors.Is(err, io.EOF)) {
					t.Errorf("a client that ends after %d bytes: %v", n, err)
				}
			}
			for n := range test.target {
				err := try(leavingAfter(test.client, endless), leavingAfter(test.target[:n], endless))
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("a target that ends after %d bytes: %v", n, err)
				}
			}
			for n := range endless - client.takes {
				if err := try(leavingAfter(test.client, n), leavingAfter(test.target, endless)); !errors.Is(err, errGone) {
					t.Errorf("a client that has gone after %d messages: %v", n, err)
				}
			}
			for n := range endless - target.takes {
				if err := try(leavingAfter(test.client, endless), leavingAfter(test.target, n)); !errors.Is(err, errGone) {
					t.Errorf("a target that has gone after %d messages: %v", n, err)
				}
			}
		})
	}
}
