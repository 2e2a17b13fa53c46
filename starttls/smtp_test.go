package starttls

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"sallyport/internal/memnet"
)

func TestSMTPServesNobodyWithoutTLS(t *testing.T) {
	t.Parallel()
	const greeting, ehlo, ready = "220 localhost ESMTP\r\n", "250-localhost\r\n250 STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n"
	const first = "530 5.7.0 Must issue a STARTTLS command first\r\n"
	for _, test := range []talk{
		{name: "EHLO and STARTTLS", hears: "EHLO c\r\nSTARTTLS\r\n", says: greeting + ehlo + ready},
		{name: "in small letters", hears: "ehlo c\r\nstarttls\r\n", says: greeting + ehlo + ready},
		{name: "HELO, NOOP and RSET", hears: "HELO c\r\nNOOP\r\nRSET\r\nSTARTTLS\r\n", says: greeting + "250 localhost\r\n" + strings.Repeat("250 2.0.0 OK\r\n", 2) + ready},
		{name: "what is slipped in behind is TLS's to judge", hears: "STARTTLS\r\nMAIL FROM:<a@b>\r\n", says: greeting + ready, left: "MAIL FROM:<a@b>\r\n"},
		{name: "mail", hears: "EHLO c\r\nMAIL FROM:<a@b>\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n", says: greeting + ehlo + first + first + "221 2.0.0 Bye\r\n", reason: reasonRequired},
		{name: "a parameter", hears: "STARTTLS now\r\nSTARTTLS\r\n", says: greeting + "501 5.5.4 STARTTLS takes no parameters\r\n" + ready},
		{name: "too many commands", hears: strings.Repeat("NOOP\r\n", 20), says: greeting + strings.Repeat("250 2.0.0 OK\r\n", 16) + "421 ", left: strings.Repeat("NOOP\r\n", 4), reason: reasonRequired},
		{name: "a long line", hears: strings.Repeat("A", 600), says: greeting + "500 ", left: strings.Repeat("A", 600-512), reason: reasonMalformed},
		{name: "a bare LF", hears: "EHLO c\nSTARTTLS\r\n", says: greeting + "500 ", left: "STARTTLS\r\n", reason: reasonMalformed},
		{name: "a zero", hears: "EHLO \x00\r\n", says: greeting + "500 ", reason: reasonMalformed},
		{name: "nothing", says: greeting, eof: true, err: io.EOF},
		{name: "half a line", hears: "EHL", says: greeting, eof: true, err: io.ErrUnexpectedEOF},
		{name: "no STARTTLS", hears: "EHLO c\r\n", says: greeting + ehlo, eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, serverUpgrade(t, "smtp"))
		})
	}
}

func TestSMTPTargetHasToSayYes(t *testing.T) {
	t.Parallel()
	const greeting, offer = "220 mail ESMTP\r\n", "250-mail\r\n250-SIZE 1\r\n250-STARTTLS\r\n250 HELP\r\n"
	const asks = "EHLO localhost\r\nSTARTTLS\r\n"
	for _, test := range []talk{
		{name: "yes", hears: greeting + offer + "220 go\r\n", says: asks},
		{name: "a long greeting, and codes without text", hears: "220-mail\r\n220-no\r\n220 spam\r\n250-mail\r\n250 starttls\r\n220\r\n", says: asks},
		{name: "what is slipped in behind is TLS's to judge", hears: greeting + offer + "220 go\r\n250 mail\r\n", says: asks, left: "250 mail\r\n"},
		{name: "no offer", hears: greeting + "250-mail\r\n250 SIZE 1\r\n", says: "EHLO localhost\r\n", reason: reasonRefused},
		{name: "a host of that name is no offer", hears: greeting + "250 STARTTLS\r\n", says: "EHLO localhost\r\n", reason: reasonRefused},
		{name: "a refused EHLO", hears: greeting + "502 5.5.1 what\r\n", says: "EHLO localhost\r\n", reason: reasonRefused},
		{name: "no", hears: greeting + offer + "454 4.7.0 not now\r\n", says: asks, reason: reasonRefused},
		{name: "turned away", hears: "554 no\r\n", reason: reasonTarget},
		{name: "something else", hears: "SSH-2.0-OpenSSH\r\n", reason: reasonMalformed},
		{name: "a line without end", hears: strings.Repeat("2", 2000), left: strings.Repeat("2", 2000-1024), reason: reasonMalformed},
		{name: "a reply without end", hears: strings.Repeat("220-x\r\n", 200), left: strings.Repeat("220-x\r\n", 200-128), reason: reasonMalformed},
		{name: "nothing", eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, probe(t, "smtp"))
		})
	}
}

func TestSMTPClientIsGreetedOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		target, client string
		toClient, left string // what the client gets, and what of target is for later
		reason         string
	}{
		{name: "greeting", target: "220-mail\r\n220 ESMTP\r\n250 later\r\n", client: "EHLO c\r\n", left: "250 later\r\n"},
		{name: "busy", target: "421-4.3.2 not\r\n421 4.3.2 now\r\n", client: "EHLO c\r\n", toClient: "421-4.3.2 not\r\n421 4.3.2 now\r\n", reason: reasonTarget},
		{name: "no service", target: "554 5.7.1 no\r\n", client: "EHLO c\r\n", toClient: "554 5.7.1 no\r\n", reason: reasonTarget},
		{name: "a code that would be taken for another answer", target: "250 mail\r\n", client: "EHLO c\r\n", toClient: "421 4.3.2 Service not available\r\n", reason: reasonTarget},
		{name: "something else", target: "SSH-2.0-OpenSSH\r\n", reason: reasonMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := New("smtp")
			if err != nil {
				t.Fatal(err)
			}
			got := meet(t, test.client, test.target, p.Server().Join)
			wantReason(t, got.err, test.reason, nil)
			if got.toClient != test.toClient || got.toTarget != "" || got.targetLeft != test.left {
				t.Errorf("the client got %q, want %q; the target %q; %q is left, want %q", got.toClient, test.toClient, got.toTarget, got.targetLeft, test.left)
			}
		})
	}
	t.Run("in plaintext", func(t *testing.T) {
		t.Parallel()
		p, err := New("smtp")
		if err != nil {
			t.Fatal(err)
		}
		talk{says: "220 localhost ESMTP\r\n"}.try(t, func(client net.Conn) error { return p.Client().Join(client, nil) })
	})
}

func TestSMTPNamesThisHostByItsAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1:25":          "[192.0.2.1]",
		"[2001:db8::1]:25":      "[IPv6:2001:db8::1]",
		"[::ffff:192.0.2.1]:25": "[192.0.2.1]",
		"[fe80::1%eth0]:25":     "[IPv6:fe80::1]",
		"/run/sallyport/listen": "localhost",
		"@":                     "localhost",
	} {
		if got := smtpName(addressed{address: memnet.Addr(address)}); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// addressed is a connection with an address and nothing else.
type addressed struct {
	net.Conn
	address net.Addr
}

func (a addressed) LocalAddr() net.Addr { return a.address }

// FuzzSMTPReply looks that what is taken for a reply is one, to the byte.
func FuzzSMTPReply(f *testing.F) {
	for _, seed := range []string{"220 mail\r\n", "250-mail\r\n250-STARTTLS\r\n250 SIZE\r\n250 later\r\n", "220\r\n", "220-\r\n", "2\r\n", "220 a\rb\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		from := &scripted{Reader: bytes.NewReader([]byte(said))}
		reply, err := smtpReply(from)
		if err != nil {
			return
		}
		if code := reply.code(); len(code) != 3 || strings.Trim(code, "0123456789") != "" {
			t.Errorf("code %q of %q", code, said)
		}
		_ = reply.offers("STARTTLS") // must not panic
		taken := said[:len(said)-from.Len()]
		if !strings.HasSuffix(taken, "\r\n") || strings.Count(taken, "\r\n") != strings.Count(string(reply), "\r\n") {
			t.Errorf("%q was taken for %q", taken, reply)
		}
	})
}
