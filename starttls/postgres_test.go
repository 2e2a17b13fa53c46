package starttls

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
)

// postgresMessage is a client's first message.
func postgresMessage(code uint32, content string) string {
	m := binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))
	return string(binary.BigEndian.AppendUint32(m, code)) + content
}

var (
	sslRequest    = postgresMessage(postgresSSL, "")
	gssRequest    = postgresMessage(postgresGSS, "")
	cancelRequest = postgresMessage(postgresCancel, "12345678")
	startup       = postgresMessage(3<<16, "user\x00alice\x00\x00")
)

func TestPostgresServesNobodyWithoutTLS(t *testing.T) {
	t.Parallel()
	refusal := "E\x00\x00\x00"
	for _, test := range []talk{
		{name: "SSLRequest", hears: sslRequest, says: "S"},
		{name: "GSSENCRequest first", hears: gssRequest + sslRequest, says: "NS"},
		{name: "what is slipped in behind is TLS's to judge", hears: sslRequest + startup, says: "S", left: startup},
		{name: "StartupMessage", hears: startup, says: refusal, left: startup[8:], reason: reasonRequired},
		{name: "StartupMessage after GSSENCRequest", hears: gssRequest + startup, says: "NE", left: startup[8:], reason: reasonRequired},
		{name: "CancelRequest", hears: cancelRequest, left: cancelRequest[8:], reason: reasonRequired},
		{name: "GSSENCRequest again and again", hears: gssRequest + gssRequest + sslRequest, says: "NE", left: sslRequest, reason: reasonMalformed},
		{name: "TLS at once", hears: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", left: "\xfc", reason: reasonMalformed},
		{name: "HTTP", hears: "GET / HTTP/1.1\r\n\r\n", says: refusal, left: "TP/1.1\r\n\r\n", reason: reasonMalformed},
		{name: "a lying length", hears: "\x00\x00\x00\x09" + sslRequest[4:], says: refusal, reason: reasonMalformed},
		{name: "protocol 2", hears: postgresMessage(2<<16, ""), says: refusal, reason: reasonMalformed},
		{name: "nothing", eof: true, err: io.EOF},
		{name: "half a request", hears: sslRequest[:5], eof: true, err: io.ErrUnexpectedEOF},
		{name: "nothing after GSSENCRequest", hears: gssRequest, says: "N", eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, serverUpgrade(t, "postgres"))
		})
	}
}

func TestPostgresTargetHasToSayYes(t *testing.T) {
	t.Parallel()
	for _, test := range []talk{
		{name: "yes", hears: "S", says: sslRequest},
		{name: "what is slipped in behind is TLS's to judge", hears: "SR\x00\x00\x00\x08\x00\x00\x00\x00", says: sslRequest, left: "R\x00\x00\x00\x08\x00\x00\x00\x00"},
		{name: "no", hears: "N", says: sslRequest, reason: reasonRefused},
		{name: "an error", hears: "E\x00\x00\x00\x10", says: sslRequest, left: "\x00\x00\x00\x10", reason: reasonRefused},
		{name: "something else", hears: "HTTP", says: sslRequest, left: "TTP", reason: reasonMalformed},
		{name: "nothing", says: sslRequest, eof: true, err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.try(t, probe(t, "postgres"))
		})
	}
}

// sasl is an AuthenticationSASL message that offers mechanisms.
func sasl(mechanisms ...string) string {
	content := "\x00\x00\x00\x0a" + strings.Join(mechanisms, "\x00") + "\x00\x00"
	return "R" + string(binary.BigEndian.AppendUint32(nil, uint32(4+len(content)))) + content
}

func TestPostgresClientInPlaintextIsTakenToATargetInTLS(t *testing.T) {
	t.Parallel()
	const ok = "R\x00\x00\x00\x08\x00\x00\x00\x00"
	long := postgresMessage(3<<16, strings.Repeat("x", postgresLength))
	for _, test := range []struct {
		name           string
		client, target string // what they send
		toClient       string
		toTarget       string
		reason         string
	}{
		{name: "session", client: startup + "later", target: ok + "more", toClient: ok, toTarget: startup},
		{name: "sslmode=prefer", client: gssRequest + sslRequest + startup, target: ok, toClient: "NN" + ok, toTarget: startup},
		{name: "cancel", client: cancelRequest, toTarget: cancelRequest},
		{name: "no binding to a session of TLS that is not the client's", client: startup, target: sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), toClient: sasl("SCRAM-SHA-256"), toTarget: startup},
		{name: "other mechanisms", client: startup, target: sasl("SCRAM-SHA-256", "OAUTHBEARER"), toClient: sasl("SCRAM-SHA-256", "OAUTHBEARER"), toTarget: startup},
		{name: "nothing but that", client: startup, target: sasl("SCRAM-SHA-256-PLUS"), toClient: sasl("SCRAM-SHA-256-PLUS"), toTarget: startup},
		{name: "NegotiateProtocolVersion first", client: startup, target: "v\x00\x00\x00\x08\x00\x00\x00\x00" + ok, toClient: "v\x00\x00\x00\x08\x00\x00\x00\x00" + ok, toTarget: startup},
		{name: "NegotiateProtocolVersion and no more", client: startup, target: strings.Repeat("v\x00\x00\x00\x08\x00\x00\x00\x00", 2), toClient: strings.Repeat("v\x00\x00\x00\x08\x00\x00\x00\x00", 2), toTarget: startup},
		{name: "ErrorResponse", client: startup, target: "E\x00\x00\x10\x00S", toClient: "E\x00\x00\x10\x00", toTarget: startup},
		{name: "SSLRequest twice", client: sslRequest + sslRequest, target: "E\x00\x00\x00\x05!", toClient: "NE\x00\x00\x00\x05", toTarget: sslRequest},
		{name: "a message that is too long", client: long, toClient: "E", reason: reasonMalformed},
		{name: "a message that is too short", client: "\x00\x00\x00\x07\x00\x03\x00\x00", toClient: "E", reason: reasonMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := New("postgres")
			if err != nil {
				t.Fatal(err)
			}
			got := meet(t, test.client, test.target, p.Client().Join)
			wantReason(t, got.err, test.reason, nil)
			if test.reason != "" {
				got.toClient = got.toClient[:min(len(got.toClient), len(test.toClient))] // the rest is a text
			}
			if got.toClient != test.toClient || got.toTarget != test.toTarget {
				t.Errorf("the client got %q, want %q; the target %q, want %q", got.toClient, test.toClient, got.toTarget, test.toTarget)
			}
		})
	}
}

// FuzzPostgresUnbound looks that nothing but the one offer is ever taken out.
func FuzzPostgresUnbound(f *testing.F) {
	f.Add([]byte(sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")))
	f.Add([]byte(sasl("SCRAM-SHA-256-PLUS")))
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00"))
	f.Add([]byte("R\x00\x00\x00\x0c\x00\x00\x00\x0aABC"))
	f.Add([]byte("R\x00\x00\x00*\x00\x00\x00\x0aSCRAM-SHA-256-PLUS\x00SCRAM-SHA-256-PLUS"))
	f.Fuzz(func(t *testing.T, message []byte) {
		got := postgresUnbound(append([]byte(nil), message...))
		if string(got) == string(message) {
			return
		}
		if int(binary.BigEndian.Uint32(got[1:])) != len(got)-1 {
			t.Errorf("a length of %d in %q", binary.BigEndian.Uint32(got[1:]), got)
		}
		// A name that nothing ends is none: the message is not one that a server sends.
		offers := slices.DeleteFunc(strings.SplitAfter(string(message[9:]), "\x00"), func(offer string) bool {
			return offer == "SCRAM-SHA-256-PLUS\x00"
		})
		if strings.Join(offers, "") != string(got[9:]) {
			t.Errorf("%q became %q", message, got)
		}
	})
}
